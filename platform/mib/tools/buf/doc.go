// Package buf has nothing but the version of buf that checks the protocol.
package buf
