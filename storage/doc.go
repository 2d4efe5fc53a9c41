// Package storage turns the nodes of role rook into what Rook is told: a
// CephCluster of exactly those nodes and disks.
//
// It is pure: the same cluster gives the same bytes. It neither talks to a
// cluster nor looks at a disk, and Rook's own objects (its CRDs, its operator)
// are not its business: they come with the release, see roles/parts/rook-apply.
package storage
