// Package ext stands in for the module that Traefik replaces by a folder of its repository.
package ext

// HTTP adds nothing to the dynamic configuration.
type HTTP struct{}

// Router adds nothing to a router.
type Router struct{}
