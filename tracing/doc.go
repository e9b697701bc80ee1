// Package tracing tells what belongs together in the logs of several processes:
// everything that is logged for a request has its id, which goes from the Hub to the
// service, with an object to the controllers, and to gateways and agents.
//
//	Hub, or a notebook ── X-Request-Id ──▶ service, gateway ── X-Request-Id ──▶ agent
//	                                            │                                ▲
//	                       annotation elastichub.io/request                      │ X-Request-Id:
//	                                            ▼                                │ the pass's id
//	                                       controllers ──────────────────────────┘
package tracing
