// Package gauges are the metrics of what the console shows: who holds what, what is free
// and who waits, by group, node and phase. They are made when Prometheus asks, from the same
// values as the pages, on the leader alone, so that sums over replicas count nothing twice.
// No label is taken from users: policies, nodes and resources are the administrators'.
package gauges
