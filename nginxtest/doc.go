// Package nginxtest downloads from a real nginx whose workers are reloaded and killed
// meanwhile. It has nothing but that test, in a module of its own because no other needs
// a server that Go does not bring along.
package nginxtest
