// A chat server to begin with: it knows login and send_message, and nothing else yet.
//
//	go build -o chat server.go wire.go
//	./chat [PORT]
//
// The protocol is in docs/PROTOCOL.md. Each client has a goroutine; one lock guards what they share.
// What is missing is marked with TODO.
package main

import (
	"bufio"
	"fmt"
	"sync"
	"time"
)

var names = []string{"anna", "ben", "carla", "dora", "emil", "fay"}
var lock sync.Mutex                // guards all of these:
var clients = map[string]*client{} // who is on
var rooms = map[string][]object{}  // room_id -> its messages
var lastMessageID = 0

// handle answers one packet.
func (c *client) handle(packet object) {
	action, isText := packet["action"].(string)
	if !isText {
		action = fmt.Sprint(packet["action"])
	}
	data, _ := packet["data"].(object) // where it is none, all its keys are missing
	missing := ""                      // the last key of the right type that is not there
	text := func(key string) string {
		value, right := data[key].(string)
		if !right {
			missing = key
		}
		return value
	}
	switch {
	case action != "login" && action != "send_message" && action != "confirm_count":
		c.fail(fmt.Sprintf("%.64s", action), "unknown_action", "this server does not know "+action)
	case c.name == "" && action != "login":
		c.fail(action, "not_logged_in", action+" needs a login first")
	case action == "login":
		if chatid, password := text("chatid"), text("password"); missing == "" {
			c.login(chatid, password)
		}
	case action == "send_message":
		if roomID, content := text("room_id"), text("content"); missing == "" {
			c.sendMessage(roomID, content)
		}
	default:
		confirm, right := data["confirm"].(bool)
		if key := text("transaction_id"); !right {
			missing = "confirm"
		} else if missing == "" {
			c.confirmCount(key, confirm)
		}
	}
	if missing != "" { // TODO: the other limits of R-JSON-11
		c.fail(action, "bad_packet", "data."+missing+" is missing, or of another type")
	}
}

func (c *client) login(chatid, password string) {
	if c.name != "" {
		c.fail("login", "forbidden", "this connection is logged in already")
		return
	}
	lock.Lock()
	for _, name := range names {
		if name == chatid && password == "pw-"+name && clients[name] == nil {
			clients[name], c.name = c, name
		}
	}
	lock.Unlock()
	if c.name == "" {
		c.send(object{"action": "login_fail", "status": "error", "message": "Invalid credentials or user already logged in"})
		return
	}
	key := randomKey("") // TODO: a login with the key (R-SESS-8)
	c.reply("login_success", "Login successful", object{"chatid": chatid, "session_key": key})
}

// sendMessage begins the first handshake: tell the sender which letters arrived; store nothing yet.
func (c *client) sendMessage(roomID, content string) {
	key := randomKey("t-") // TODO: another's name in chatid is forbidden (R-SESS-7)
	c.transactions[key] = transaction{roomID, content}
	counts := map[string]int{}
	for _, letter := range content { // range gives whole code points; content[i] would be a byte
		counts[string(letter)]++
	}
	told := object{"transaction_id": key, "letter_frequencies": counts, "original_action": "send_message"}
	c.send(object{"action": "character_count", "data": told})
}

// confirmCount ends it: the sender says whether the letters are right. Store and hand on, or drop.
func (c *client) confirmCount(key string, confirm bool) {
	open, found := c.transactions[key]
	if !found {
		c.fail("confirm_count", "transaction_not_found", "no such transaction is open")
		return
	}
	delete(c.transactions, key)
	if !confirm {
		why := "You did not confirm the counts: the message was dropped."
		c.send(object{"action": "ack", "status": "error", "message": why, "code": "not_confirmed", "data": object{"transaction_id": key}})
		return
	}
	now := time.Now().UTC().Format("2006-01-02T15:04:05Z")
	lock.Lock() // numbering and sending are one step, so everybody gets them in the same order
	defer lock.Unlock()
	lastMessageID++
	message := object{"transaction_id": randomKey("r-"), "room_id": open.roomID, "sender_chatid": c.name, "content": open.content,
		"message_id": lastMessageID, "timestamp": now}
	rooms[open.roomID] = append(rooms[open.roomID], message) // TODO: get_messages (R-HIST-1)
	c.reply("ack", "Action processed successfully.", object{"transaction_id": key, "message_id": lastMessageID, "timestamp": now})
	for _, other := range clients { // TODO: who does not read makes all wait: a goroutine for each
		if other != c {
			other.reply("receive_message", "New message received.", message)
		}
	}
	// TODO: the second handshake: each receiver counts too (R-MSG-16 to R-MSG-18)
}

// serve serves one client from its first packet to its last.
func (c *client) serve() {
	defer c.conn.Close()
	in := bufio.NewReader(c.conn)
	for {
		packet := c.receive(in)
		if packet == nil {
			break // TODO: answer bad_json, and go on (R-JSON-9)
		}
		c.handle(packet)
	}
	lock.Lock()
	if clients[c.name] == c {
		delete(clients, c.name)
	}
	lock.Unlock()
}

func main() {
	listener := listen()
	for {
		if conn, err := listener.Accept(); err == nil {
			go (&client{conn: conn, transactions: map[string]transaction{}}).serve()
		}
	}
}
