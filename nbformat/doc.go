// Package nbformat reads and writes notebooks of version 4 of the format.
//
// What it does not know it leaves alone: fields, their order, numbers and escapes in
// strings are those of the file. It writes one space of indentation and a last newline, as
// Jupyter does.
package nbformat
