// Package tools pins what generates the code of the protocol.
package tools
