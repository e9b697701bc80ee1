// Package groups answers two questions: to which groups does a user belong,
// and what may they therefore have.
//
//	Hub user name ─▶ Source (LDAP, …) ─▶ Cache ─┐
//	                 Source (file, …) ─▶ Cache ─┼▶ Combination ─▶ Membership
//	what the Hub sends ─▶ Witness ──────────────┘                     │
//	GroupPolicies ─▶ Resolve (pure) ◀─────────────────────────────────┘
//	                     │
//	                     ▼
//	                 Allowance, or one of the sentinel errors
//
// Nothing here falls back to rights that nobody declared: a directory that
// does not answer, a user without a policy and a policy with faults are errors.
package groups
