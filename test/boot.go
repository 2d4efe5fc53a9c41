// Package test holds the tests that cross packages: real images that are built,
// booted in the lab, and ill-treated there.
//
// They need root, QEMU and a Debian mirror, and run where IMGBUILD_TEST_ROOT is
// set. Tests of one package stay with it.
package test
