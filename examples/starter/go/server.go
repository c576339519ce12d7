// A chat server to begin with: it knows login and send_message, and nothing else yet.
// Build it with "go build -o chat server.go", start it with "./chat [PORT]". The protocol is in PROTOCOL.md.
// Each client has a goroutine; one lock guards what they share. What is missing is marked with TODO.
package main

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
	"unicode/utf8"
)

type object = map[string]any // a JSON object
var accounts = object{"anna": "pw-anna", "ben": "pw-ben", "carla": "pw-carla", "dora": "pw-dora", "emil": "pw-emil", "fay": "pw-fay"}
var lock sync.Mutex                // guards what is below
var clients = map[string]*client{} // who is on
var messages []object              // of all rooms, in the order of message_id

type client struct { // one connection
	conn         net.Conn
	name         string            // set by login
	transactions map[string]object // transaction_id -> the message that waits for confirm_count
}

// send sends one packet as one frame: 4 bytes of length, big-endian, then the JSON; in one Write, so that no bytes are mixed.
func (c *client) send(packet object) {
	payload, _ := json.Marshal(packet)
	c.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)) // who is gone misses it
}

func (c *client) fail(original, code, message string) {
	c.send(object{"action": "error", "status": "error", "message": message, "original_action": original, "code": code})
}

// handle answers one packet. One at a time, so everybody gets the messages in the same order.
func (c *client) handle(packet object) {
	lock.Lock()
	defer lock.Unlock()
	action := fmt.Sprint(packet["action"])
	data, _ := packet["data"].(object) // where it is none, all its keys are missing
	chatid, isName := data["chatid"].(string)
	password, isPassword := data["password"].(string)
	roomID, isRoom := data["room_id"].(string)
	content, isContent := data["content"].(string)
	key, isKey := data["transaction_id"].(string)
	confirm, isConfirm := data["confirm"].(bool)
	switch {
	case action != "login" && action != "send_message" && action != "confirm_count":
		c.fail(fmt.Sprintf("%.64s", action), "unknown_action", "this server does not know "+action)
	case action != "login" && c.name == "":
		c.fail(action, "not_logged_in", action+" needs a login first")
	case action == "login" && isName && isPassword:
		c.login(chatid, password)
	case action == "send_message" && isRoom && isContent:
		c.sendMessage(roomID, content)
	case action == "confirm_count" && isKey && isConfirm:
		c.confirmCount(key, confirm)
	default: // TODO: say which of them is wrong, and the other limits of R-JSON-11
		c.fail(action, "bad_packet", "data needs "+map[string]string{"login": "chatid and password", "send_message": "room_id and content", "confirm_count": "transaction_id and confirm"}[action])
	}
}

func (c *client) login(chatid, password string) {
	if c.name != "" {
		c.fail("login", "forbidden", "this connection is logged in already")
	} else if accounts[chatid] != password || clients[chatid] != nil {
		c.send(object{"action": "login_fail", "status": "error", "message": "Invalid credentials or user already logged in"})
	} else {
		clients[chatid], c.name = c, chatid
		data := object{"chatid": chatid, "session_key": fmt.Sprintf("%x", randomKey())} // TODO: a login with the key (R-SESS-8)
		c.send(object{"action": "login_success", "status": "success", "message": "Login successful", "data": data})
	}
}

// sendMessage begins the first handshake: tell the sender which letters arrived; store nothing yet.
func (c *client) sendMessage(roomID, content string) {
	key := fmt.Sprintf("t-%x", randomKey()) // TODO: another's name in chatid is forbidden (R-SESS-7)
	c.transactions[key] = object{"room_id": roomID, "sender_chatid": c.name, "content": content}
	counts := map[string]int{}
	for _, letter := range content { // range gives whole code points; content[i] would be a byte
		counts[string(letter)]++
	}
	c.send(object{"action": "character_count", "data": object{"transaction_id": key, "letter_frequencies": counts, "original_action": "send_message"}})
}

// confirmCount ends it: the sender says whether the letters are right. Store and hand on, or drop.
func (c *client) confirmCount(key string, confirm bool) {
	message, found := c.transactions[key]
	delete(c.transactions, key)
	if !found {
		c.fail("confirm_count", "transaction_not_found", "no such transaction is open")
	} else if !confirm {
		c.send(object{"action": "ack", "status": "error", "message": "You did not confirm the counts: the message was dropped.",
			"code": "not_confirmed", "data": object{"transaction_id": key}})
	} else {
		id, now := len(messages)+1, time.Now().UTC().Format("2006-01-02T15:04:05Z")
		message["message_id"], message["timestamp"], message["transaction_id"] = id, now, fmt.Sprintf("r-%x", randomKey())
		messages = append(messages, message) // TODO: get_messages (R-HIST-1)
		c.send(object{"action": "ack", "status": "success", "message": "Action processed successfully.", "data": object{"transaction_id": key, "message_id": id, "timestamp": now}})
		for name, other := range clients { // TODO: who does not read makes all wait: a goroutine for each
			if name != c.name { // TODO: the second handshake: each receiver counts too (R-MSG-16 to R-MSG-18)
				other.send(object{"action": "receive_message", "status": "success", "message": "New message received.", "data": message})
			}
		}
	}
}

func randomKey() (key [16]byte) { rand.Read(key[:]); return } // nobody guesses it

// serve serves one client from its first packet to its last.
func (c *client) serve() {
	var length uint32 // TCP may hand over half a frame or three: binary.Read waits for all of it
	for binary.Read(c.conn, binary.BigEndian, &length) == nil {
		if length < 1 || length > 1_048_576 {
			c.fail("unknown", "bad_frame", fmt.Sprintf("a frame of length %d can't be read", length))
			break
		}
		payload, packet := make([]byte, length), object(nil)
		if binary.Read(c.conn, binary.BigEndian, payload) != nil || !utf8.Valid(payload) || json.Unmarshal(payload, &packet) != nil || packet == nil {
			break // TODO: answer bad_json, and go on (R-JSON-9)
		}
		c.handle(packet)
	}
	lock.Lock()
	delete(clients, c.name)
	lock.Unlock()
	c.conn.Close()
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+append(os.Args, "9876")[1]) // at the port that is given, or 9876
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot listen:", err)
		os.Exit(1)
	}
	fmt.Println("listening on", listener.Addr())
	for {
		if conn, err := listener.Accept(); err == nil {
			go (&client{conn: conn, transactions: map[string]object{}}).serve()
		} else { // too many are open: a moment later it is tried again
			fmt.Fprintln(os.Stderr, "cannot accept:", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
}
