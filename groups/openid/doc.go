// Package openid is a groups.Source that answers from what an OpenID provider
// said when the user signed in.
//
//	ElasticSpawner ─ ID token or access token ─▶ Present (remembered, in memory only)
//	                                                │
//	                    Lookup ─────────────────────┤
//	                                                ▼
//	  idToken, accessToken: signature by the provider's keys ─▶ issuer, audience, times ─┐
//	  userInfo:             the provider's userinfo endpoint, asked with the token ──────┤
//	                                                                                     ▼
//	                              user name ─▶ groups ─▶ Membership
//
// Specifications: OpenID Connect Core 1.0 and Discovery 1.0, RFC 7515 to 7519.
package openid
