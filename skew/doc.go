// Package skew says which releases of elastichub work side by side, and what its parts tell each
// other of theirs.
//
// A release rolls part by part, and some parts live long: a running kernel keeps its agent for
// days, a notebook server its wheel, the Hub its class. So each part tells its release and the
// number of the protocol that it speaks, in one header of every request and of every answer, and
// neighbours work with the same and with the former minor release:
//
//	ElasticSpawner ─▶ service ─▶ gateway ◀─ wheel
//	                     └──────▶ agent ◀─ gateway
//
// What is further apart is refused, in a sentence that names both. docs/skew.md is the table.
package skew
