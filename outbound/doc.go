// Package outbound holds what questions to other services have in common:
// which certificates are trusted, and HTTP clients with bounds.
package outbound
