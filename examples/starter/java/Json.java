// JSON for the starter, as Java's own library has none: {} is a Map, [] a List, "" a String, numbers a BigDecimal.
import java.math.BigDecimal;
import java.util.*;
import java.util.regex.*;
import java.util.stream.Collectors;

class Json {
    static final Pattern WORD = Pattern.compile("true|false|null|-?(0|[1-9][0-9]*+)(\\.[0-9]++)?([eE][-+]?[0-9]++)?");
    final String text;
    int at = 0; // the next character to read
    Json(String text) { this.text = text; }

    /** Read the whole text as one value; throw IllegalArgumentException where it is no JSON. */
    static Object read(String text) {
        Json json = new Json(text + "\0"); // the NUL marks the end: JSON has none
        Object value = json.value(1);
        if (json.next() != 0 || json.at != text.length() + 1) throw json.wrong();
        return value;
    }

    IllegalArgumentException wrong() { return new IllegalArgumentException("no JSON at character " + at); }

    /** Pass blanks, and take the character behind them. */
    char next() {
        while (" \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
        return text.charAt(at++);
    }

    Object value(int depth) {
        if (depth > 32) throw wrong(); // R-JSON-3
        char c = next();
        if (c == '"') return string();
        if (c == '[') {
            List<Object> list = new ArrayList<>();
            if (next() == ']') return list;
            at--;
            do list.add(value(depth + 1)); while ((c = next()) == ',');
            if (c != ']') throw wrong();
            return list;
        }
        if (c == '{') {
            Map<String, Object> map = new LinkedHashMap<>();
            if (next() == '}') return map;
            at--;
            do {
                if (next() != '"') throw wrong();
                String key = string();
                if (next() != ':') throw wrong();
                map.put(key, value(depth + 1));
            } while ((c = next()) == ',');
            if (c != '}') throw wrong();
            return map;
        }
        Matcher word = WORD.matcher(text).region(--at, text.length());
        if (!word.lookingAt()) throw wrong();
        at = word.end();
        return switch (c) { case 't' -> true; case 'f' -> false; case 'n' -> null; default -> new BigDecimal(word.group()); };
    }

    /** Read a string whose opening quote is taken already. */
    String string() {
        StringBuilder out = new StringBuilder();
        for (char c = text.charAt(at++); c != '"'; c = text.charAt(at++)) {
            if (c < ' ') throw wrong(); // the end, too
            if (c != '\\') { out.append(c); continue; }
            int escape = "\"\\/bfnrtu".indexOf(c = text.charAt(at++));
            if (escape < 0) throw wrong();
            if (c != 'u') { out.append("\"\\/\b\f\n\r\t".charAt(escape)); continue; }
            if (!text.substring(at, Math.min(at + 4, text.length())).matches("[0-9a-fA-F]{4}")) throw wrong();
            out.append((char) Integer.parseInt(text, at, at + 4, 16)); // two of these in a row make one emoji
            at += 4;
        }
        if (out.codePoints().anyMatch(c -> c >= 0xD800 && c <= 0xDFFF)) throw wrong(); // half of a pair is no text
        return out.toString();
    }

    /** Return the value of a key if it is of the right type; throw NoSuchElementException if not. */
    static String text(Map<?, ?> data, String key) { return get(data, key, String.class); }

    static <T> T get(Map<?, ?> data, String key, Class<T> type) {
        if (type.isInstance(data.get(key))) return type.cast(data.get(key));
        throw new NoSuchElementException("data." + key + ": expected a " + type.getSimpleName());
    }

    /** Return a JSON object: object("key", value, "key", value ...). */
    static Map<String, Object> object(Object... parts) {
        Map<String, Object> made = new LinkedHashMap<>();
        for (int i = 0; i < parts.length; i += 2) made.put((String) parts[i], parts[i + 1]);
        return made;
    }

    static String write(Object value) {
        if (value instanceof List<?> list) return list.stream().map(Json::write).collect(Collectors.joining(",", "[", "]"));
        if (value instanceof Map<?, ?> map) return map.entrySet().stream()
            .map(entry -> write(entry.getKey()) + ":" + write(entry.getValue())).collect(Collectors.joining(",", "{", "}"));
        if (!(value instanceof String string)) return String.valueOf(value);
        StringBuilder out = new StringBuilder("\"");
        for (char c : string.toCharArray()) {
            if (c == '"' || c == '\\') out.append('\\').append(c);
            else if (c < ' ') out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"').toString();
    }
}
