// Package web holds the pages: templ components, their view models, and the
// texts in them. A component sees only its view; views are made from domain
// values by functions without I/O. Every text a person reads comes from a
// Messages value.
//
// Generated files (*_templ.go) are committed; go generate renews them.
package web

//go:generate go tool templ generate
