// Package groups answers two questions: to which groups does a user belong,
// and what may they therefore have.
//
//	Hub user name ─▶ Source (LDAP, …) ─▶ Cache ─┐
//	                 Source (file, …) ─▶ Cache ─┼▶ Combination ─▶ Membership
//	what the Hub sends ─▶ SignInReceiver ───────┘                     │
//	GroupPolicies ─▶ Resolve (pure) ◀─────────────────────────────────┘
//	                     │
//	                     ▼
//	                 Allowance, or one of the sentinel errors
//
// The sources have packages of their own, over naming, which says when two
// names are the same:
//
//	ldap    an LDAP directory
//	openid  the token of an OpenID provider, which the Hub sends
//	hub     JupyterHub's own groups, which the Hub sends or is asked for
//	file    a YAML file
//
// Nothing here falls back to rights that nobody declared: a directory that
// does not answer, a user without a policy and a policy with faults are errors.
package groups
