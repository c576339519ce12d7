// The relay's page: what its program tells it, and what it asks.
//
// Events (objects with `kind`; times in seconds since the relay began):
//   open      {connection, from, time}
//   name      {connection, user, time}
//   frame     {connection, row, to: "server"|"client", time, action, summary, size, room,
//              transaction, counts: "agree"|"differ"|"none", fault: null|"drop"|"delay 300"..., held}
//   raw       {connection, row, to, time, size, summary}: bytes that are no frame
//   came_of   {row, text}: what became of a row ("sent again", "stored once")
//   close     {connection, how, time}
//   faults    {faults: [{id, text, hits}]}: the list as it is now
//   step      {on, held: [{row, connection, to, action}], until: "" | action}: as it is now
//   replay    {position, length, speed, paused}: of `relay --play`
// State, for a page that comes later: {target, listening, seed, connections: [{connection, from,
// user}], faults: [...], step: {...}, replay: {...} | null, actions: [all known actions]}
//
// Acts (those with * may be called by the wall):
//   row*         {row} -> {row, time, connection, user, to, action, size, length: "00 00 00 2a",
//                json: text (secrets hidden) | null, bytes: hex | null,
//                counts: {verdict, text}, rules: [{id, sentence}], fault, came_of: [text], held}
//   fault_add    {kind, to, action, user, every, first, p, value} -> {faults}
//   fault_remove {id} -> {faults}
//   step         {do: "on"|"off"|"one"|"until"|"all", action, row} -> {}
//   edit         {row, json} -> {}: replaces a held row's JSON, and releases it
//   again        {row} -> {}: sends a row's frame once more
//   replay       {do: "pause"|"go"|"speed", speed} -> {}
