// Package health says how the objects of all kinds stand: to tools, by the conditions
// Ready, Stalled and Resting, and to people, by Events about what has changed in them.
package health
