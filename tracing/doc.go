// Package tracing tells what belongs together in the logs of several processes:
// everything that is logged for a request has its id, which goes from the Hub to the
// service, with an object to the controllers, and to gateways and agents.
//
//	Hub, or a notebook ── X-Request-Id ──▶ service, gateway ── X-Request-Id ──▶ agent
//	                      traceparent           │                                ▲
//	                       annotations elastichub.io/request, …/traceparent      │ X-Request-Id:
//	                                            ▼                                │ the pass's id
//	                                       controllers ──────────────────────────┘
//
// Where a Tracer is configured, service and gateways record spans besides, and send them as OTLP
// over HTTP. The messages are OpenTelemetry's own; its SDK is not used: with its exporter, which
// brings gRPC along, a binary has 8 MB more, and this one is copied into every kernel's Pod
// before the kernel starts.
package tracing
