// Package ldap is a groups.Source that asks an LDAP directory: OpenLDAP, Active
// Directory and others.
//
//	Lookup ─▶ pool (a bound connection) ─▶ the user's entry
//	                                            │
//	   groups that list the user ◀──────────────┼─────▶ memberOf, primary group
//	               │                                          │
//	               └────────▶ groups of these groups ◀────────┘
//	                                  │
//	                                  ▼
//	                              Membership
//
// Specifications: RFC 4511 to 4519, [MS-ADTS] for Active Directory.
package ldap
