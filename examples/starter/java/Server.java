// A chat server to begin with: it knows login and send_message, and nothing else yet.
//
//     javac -d build *.java
//     java -cp build Server [PORT]
//
// The protocol is in PROTOCOL.md. Each client has a thread; one lock guards what they share.
// What is missing is marked with TODO.
import java.io.*;
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.*;
import java.time.temporal.ChronoUnit;
import java.util.*;
import java.util.stream.Collectors;

public class Server {
    static final List<String> NAMES = List.of("anna", "ben", "carla", "dora", "emil", "fay");
    static final int MAX_FRAME = 1_048_576;
    static final Object lock = new Object(); // guards all of these:
    static final Map<String, Client> clients = new LinkedHashMap<>(); // who is on: name -> Client
    static final Map<String, List<Object>> rooms = new HashMap<>(); // room_id -> its messages
    static long nextMessageId = 1;

    public static void main(String[] args) throws InterruptedException {
        String port = args.length > 0 ? args[0] : "9876";
        try (var listener = new ServerSocket(Integer.parseInt(port), 50, InetAddress.getByName("127.0.0.1"))) {
            System.out.println("listening on 127.0.0.1:" + listener.getLocalPort());
            while (true) try {
                new Thread(new Client(listener.accept())::serve).start();
            } catch (IOException error) { System.err.println("cannot accept: " + error.getMessage()); Thread.sleep(100); } // try again
        } catch (IOException | IllegalArgumentException error) {
            System.err.println("cannot listen: " + error.getMessage());
            System.exit(1);
        }
    }

    static class Client {
        record Transaction(String roomId, String content) {} // waits for confirm_count
        final Socket socket;
        String name = null; // set by login
        final Map<String, Transaction> transactions = new HashMap<>();
        Client(Socket socket) { this.socket = socket; }

        /** Serve this client from its first packet to its last. */
        void serve() {
            try (socket; DataInputStream in = new DataInputStream(new BufferedInputStream(socket.getInputStream()))) {
                while (true) { // TCP may hand over half a frame or three: readInt and readFully wait for all of it
                    int length = in.readInt(); // 4 bytes, big-endian
                    if (length < 1 || length > MAX_FRAME) {
                        error("unknown", "bad_frame", "a frame of length " + Integer.toUnsignedString(length) + " can't be read");
                        return;
                    }
                    byte[] payload = new byte[length];
                    in.readFully(payload);
                    String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(payload)).toString();
                    if (!(Json.read(text) instanceof Map<?, ?> packet)) return; // TODO: bad_json, and go on (R-JSON-9)
                    handle(packet);
                }
            } catch (IOException | IllegalArgumentException end) { // the client is gone, or this is no JSON
            } finally {
                synchronized (lock) { clients.remove(name, this); }
            }
        }

        /** Send one packet as one frame. Two threads must not mix their bytes: so one at a time. */
        synchronized void send(Map<String, Object> packet) {
            byte[] payload = Json.write(packet).getBytes(StandardCharsets.UTF_8);
            byte[] frame = ByteBuffer.allocate(4 + payload.length).putInt(payload.length).put(payload).array();
            try { socket.getOutputStream().write(frame); } catch (IOException gone) { } // who is gone misses it
        }

        void reply(String action, String message, Object data) {
            send(Json.object("action", action, "status", "success", "message", message, "data", data));
        }

        void error(String original, String code, String message) {
            send(Json.object("action", "error", "status", "error", "message", message, "original_action", original, "code", code));
        }

        /** Answer one packet. */
        void handle(Map<?, ?> packet) {
            String action = packet.get("action") instanceof String text ? text : Json.write(packet.get("action"));
            if (!List.of("login", "send_message", "confirm_count").contains(action)) {
                String start = action.codePoints().limit(64).mapToObj(Character::toString).collect(Collectors.joining());
                error(start, "unknown_action", "this server does not know " + action);
            } else if (name == null && !action.equals("login")) {
                error(action, "not_logged_in", action + " needs a login first");
            } else if (!(packet.get("data") instanceof Map<?, ?> data)) {
                error(action, "bad_packet", "data: expected an object");
            } else {
                try { // TODO: the other limits of R-JSON-11
                    switch (action) {
                        case "login" -> login(Json.text(data, "chatid"), Json.text(data, "password"));
                        case "send_message" -> sendMessage(Json.text(data, "room_id"), Json.text(data, "content"));
                        default -> confirmCount(Json.text(data, "transaction_id"), Json.get(data, "confirm", Boolean.class));
                    }
                } catch (NoSuchElementException wrong) {
                    error(action, "bad_packet", wrong.getMessage());
                }
            }
        }

        void login(String chatid, String password) {
            if (name != null) { error("login", "forbidden", "this connection is logged in already"); return; }
            synchronized (lock) {
                boolean right = NAMES.contains(chatid) && password.equals("pw-" + chatid);
                if (right && !clients.containsKey(chatid)) clients.put(name = chatid, this);
            }
            String why = "Invalid credentials or user already logged in";
            Object key = UUID.randomUUID().toString(); // TODO: a login with the key (R-SESS-8)
            if (name == null) send(Json.object("action", "login_fail", "status", "error", "message", why));
            else reply("login_success", "Login successful", Json.object("chatid", name, "session_key", key));
        }

        /** Begin the first handshake: tell the sender which letters arrived; store nothing yet. */
        void sendMessage(String roomId, String content) {
            String key = "t-" + UUID.randomUUID(); // TODO: another's name in chatid is forbidden (R-SESS-7)
            transactions.put(key, new Transaction(roomId, content));
            Map<String, Object> counts = new LinkedHashMap<>(); // of whole code points: no charAt(i), which may be half of one
            content.codePoints().forEach(letter -> counts.merge(Character.toString(letter), 1, (a, b) -> (int) a + (int) b));
            send(Json.object("action", "character_count", "data",
                Json.object("transaction_id", key, "letter_frequencies", counts, "original_action", "send_message")));
        }

        /** End it: the sender says whether the letters are right. Store and hand on, or drop. */
        void confirmCount(String key, boolean confirm) {
            Transaction open = transactions.remove(key);
            if (open == null) { error("confirm_count", "transaction_not_found", "no such transaction is open"); return; }
            if (!confirm) {
                String why = "You did not confirm the counts: the message was dropped.";
                send(Json.object("action", "ack", "status", "error", "message", why, "code", "not_confirmed",
                    "data", Json.object("transaction_id", key)));
                return;
            }
            String now = Instant.now().truncatedTo(ChronoUnit.SECONDS).toString(); // 2026-01-31T12:00:00Z
            synchronized (lock) { // numbering and sending are one step, so everybody gets them in the same order
                Object id = nextMessageId++;
                var message = Json.object("message_id", id, "timestamp", now, "room_id", open.roomId, "sender_chatid", name, "content", open.content);
                rooms.computeIfAbsent(open.roomId, room -> new ArrayList<>()).add(message); // TODO: get_messages (R-HIST-1)
                reply("ack", "Action processed successfully.", Json.object("transaction_id", key, "message_id", id, "timestamp", now));
                Map<String, Object> told = new LinkedHashMap<>(message);
                told.put("transaction_id", "r-" + UUID.randomUUID());
                for (Client other : clients.values()) // TODO: who does not read makes all wait: a thread for each
                    if (other != this) other.reply("receive_message", "New message received.", told);
            }
            // TODO: the second handshake: each receiver counts too (R-MSG-16 to R-MSG-18)
        }
    }
}
