// Package portal is what people call: the JSON API below api/v1, whose contract is
// openapi.yaml, and the console's pages. It decides nothing itself: holdings says
// what there is, signin who asks, and every wish is a patch of an object, which any
// replica writes and the leader carries out.
//
//	request ─ identify ─▶ sign-in, or 401
//	        ─ cross-site? ─▶ 403
//	        ─ administrator? ─▶ 403        routes say who may come: see routes.go
//	        ─ handler ─▶ page or JSON, or an error that problems.go knows
//
// What is another person's is 404 for who is no administrator.
package portal
