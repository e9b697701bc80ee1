// Package forms decides, without I/O, whether what a user chose is within
// their allowance.
//
// Choices come as a form that a browser posts, or as the JSON of the Hub's
// user_options from a REST caller or from the Hub's database. Both end as
// Options that lie within the allowance, or as *Invalid, which names every
// fault at once. Neither is ever rounded or clipped into the bounds.
//
// Numbers are plain decimals of ASCII digits with at most one point between
// digits: no sign, exponent, space or separator. In both forms
//
//	cpu     cores, "1.5"
//	memory  GiB, "4"; in JSON a string may name the unit: "4Gi", "512Mi"
//	image   the id of an image channel
//
// A form may also have
//
//	preset  the name of a preset, whose numbers count instead of cpu and
//	        memory; empty for these
//	lang    the language of the form, for the form that comes back
//
// In JSON, cpu and memory may also be JSON numbers, with the same meaning.
// The JSON that Options marshal to is {"cpu":"1.5","memory":"4Gi","image":"stable"}.
package forms
