// Package gateways makes of each JupyterGateway a Deployment, a Service, an
// account with its rights and a key, keeps them as they should be, and says in
// conditions what is amiss. It also says of each JupyterKernelSpec and each
// JupyterKernelTemplate whether a Pod can be made from it.
package gateways
