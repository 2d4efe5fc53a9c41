// Package netboot is the server that machines without an operating system start
// from: it tells them what to load, gives them their image and their order, hands
// each node its secrets once, and shows how far everybody is.
//
// A folder per part: dhcp and tftp speak to firmware, artefact makes what is
// served, state remembers, web is the page. Here is HTTP, and what holds the parts
// together.
//
// It does not build images, and it never starts a machine. Secrets are in its
// memory only: they are sealed for who claims them and written nowhere.
package netboot
