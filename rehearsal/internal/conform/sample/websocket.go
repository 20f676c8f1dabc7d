package sample

import (
	"crypto/sha1" // as RFC 6455 demands; it protects nothing
	"encoding/base64"
)

// acceptKey answers the key of a WebSocket handshake.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
