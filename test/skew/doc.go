// Package skew runs parts of the former release beside parts of this one: real processes of
// service, gateway, agent, run-kernel and jupyter_server, with a real ipykernel, on a real API
// server. Only the kubelet is played. The Hub's class beside the service is python/tests/test_skew.py's.
package skew
