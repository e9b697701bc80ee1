// Package internalssl is what a notebook server has of TLS where its JupyterHub has
// c.JupyterHub.internal_ssl: then the Hub, its proxy and its servers take connections only from who
// shows a certificate of an authority that they trust.
//
// The Hub sends a server's key and certificate and the authorities that the server is to trust, which
// are the Hub's and its proxy's (Pair). elastichub asks servers, too: when they were used, and that they
// will be stopped. It can show no certificate of those authorities, so each start has one more: a key
// and a certificate that signs itself, made for that start alone (Files). The server trusts it beside
// the others, and elastichub trusts the server's own certificate and no other (Client). So there is no
// authority of elastichub's that could be stolen or would have to be changed.
//
// It is pure: it makes keys, and reads and writes no file.
package internalssl
