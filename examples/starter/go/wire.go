// The wire of the starter: one connection, frames of packets, and keys that nobody guesses.
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"unicode/utf8"
)

const maxFrame = 1_048_576

type object = map[string]any // a JSON object
type transaction struct{ roomID, content string }

// client is one connection.
type client struct {
	conn         net.Conn
	name         string                 // set by login
	transactions map[string]transaction // transaction_id -> what waits for confirm_count
	sending      sync.Mutex             // two goroutines must not mix their bytes
}

// send sends one packet as one frame: 4 bytes of length, big-endian, then the JSON.
func (c *client) send(packet object) {
	payload, _ := json.Marshal(packet)
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)
	c.sending.Lock()
	defer c.sending.Unlock()
	c.conn.Write(frame) // who is gone misses it
}

func (c *client) reply(action, message string, data object) {
	c.send(object{"action": action, "status": "success", "message": message, "data": data})
}

func (c *client) fail(original, code, message string) {
	c.send(object{"action": "error", "status": "error", "message": message, "original_action": original, "code": code})
}

// receive returns the next packet, or nil at the end and where it is no JSON object.
func (c *client) receive(in *bufio.Reader) (packet object) {
	var length uint32
	if binary.Read(in, binary.BigEndian, &length) != nil {
		return nil
	}
	if length < 1 || length > maxFrame {
		c.fail("unknown", "bad_frame", fmt.Sprintf("a frame of length %d can't be read", length))
		return nil
	}
	payload := make([]byte, length) // TCP may hand over half a frame or three: ReadFull waits for all of it
	if _, err := io.ReadFull(in, payload); err != nil || !utf8.Valid(payload) {
		return nil
	}
	if json.Unmarshal(payload, &packet) != nil {
		return nil
	}
	return packet
}

// randomKey returns random digits behind a prefix.
func randomKey(prefix string) string {
	random := make([]byte, 16)
	rand.Read(random)
	return fmt.Sprintf("%s%x", prefix, random)
}

// listen listens at the port of the command line, says which one it is, and returns the listener.
func listen() net.Listener {
	port := "9876"
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot listen:", err)
		os.Exit(1)
	}
	fmt.Println("listening on", listener.Addr())
	return listener
}
