// Package signin knows who is at the other end of a request, by one of three proofs:
//
//	browser ─ GET signin ─▶ sealed attempt: state, nonce, verifier, next ─▶ provider
//	browser ◀─ provider ─ GET oauth_callback?state&code ─▶ the attempt is checked, the
//	         code exchanged ─▶ sealed session ─▶ next
//	cookie   the session, checked at the Hub again after 30 s
//	token    of a user of the Hub, checked there, too
//	JWT      for the audience elastichub, of an account of Kubernetes: TokenReview ─▶ who it
//	         is, LocalSubjectAccessReview ─▶ what it may, each believed for 30 s
//
// Providers are JupyterHub's OAuth and OpenID Connect, or none: then there are no cookies and no
// keys, and Begin and Finish are not called. Cookies are sealed with keys
// that every replica has, so any of them finishes what another began. No replica
// remembers a session: a session ends with its time, with the Hub's word, or with
// the keys.
package signin
