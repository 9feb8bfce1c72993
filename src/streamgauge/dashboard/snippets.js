// @ts-check
/**
 * What a sender pastes, with this server's address and the names that it gives to the parts of an event. Pure, but for
 * the address of the page.
 *
 * @typedef {Record<"type" | "timestamp" | "value" | "user_id" | "event_id", string>} Fields
 */

/** The names that the parts of an event have unless a server says otherwise. @type {Fields} */
export const USUAL_FIELDS = Object.freeze({
  type: "type", timestamp: "timestamp", value: "value", user_id: "user_id", event_id: "event_id",
});

/** Where the server is, below whatever path, without what stands after it. */
export function pageAddress(base = document.baseURI) {
  const address = new URL(".", base);
  address.search = "";
  address.hash = "";
  return address.href.replace(/\/$/, "");
}

/** @param {string} address */
export function socketAddress(address) {
  return `${address.replace(/^http/, "ws")}/socket`;
}

/** @param {string} address @param {Fields} fields */
export function curlSnippet(address, fields) {
  return [`curl ${address}/api/events \\`, "  -H 'content-type: application/json' \\", `  -d ${shell(exampleEvent(fields))}`].join("\n");
}

/** The same in Python, with nothing to install. @param {string} address @param {Fields} fields */
export function pythonSnippet(address, fields) {
  return [
    "import json, urllib.request",
    `event = ${exampleEvent(fields)}`,
    "urllib.request.urlopen(urllib.request.Request(",
    `    "${address}/api/events",`,
    "    data=json.dumps(event).encode(),",
    '    headers={"content-type": "application/json"},',
    "))",
  ].join("\n");
}

/** Each second another id, so that it is no duplicate of the one that was pasted before.
 * @param {string} address @param {Fields} fields */
export function cloudEventsSnippet(address, fields) {
  return [
    `curl ${address}/api/events \\`,
    "  -H 'content-type: application/json' \\",
    "  -H 'ce-specversion: 1.0' -H 'ce-type: com.shop.sale' \\",
    "  -H 'ce-source: /shop/1' -H \"ce-id: $(date +%s)\" \\",
    `  -d ${shell(json({ [fields.value]: 12.5 }))}`,
  ].join("\n");
}

/** @param {string} address @param {Fields} fields */
export function phoenixSnippet(address, fields) {
  return [
    "node --input-type=module <<'END'",
    'import { Socket } from "phoenix";',
    'import WebSocket from "ws";',
    `const address = "${socketAddress(address)}";`,
    "const socket = new Socket(address, { transport: WebSocket });",
    "const told = (answer) => { console.log(answer); socket.disconnect(); };",
    "socket.connect();",
    'const events = socket.channel("events", {});',
    "events.join();",
    `events.push("new_event", ${exampleEvent(fields)})`,
    '  .receive("ok", told).receive("error", told);',
    "END",
  ].join("\n");
}

/** @param {string} address @param {Fields} fields */
export function clientSnippet(address, fields) {
  return [
    "from streamgauge import Client",
    "",
    `with Client("${address}") as client:`,
    `    client.push_event(${exampleEvent(fields)})`,
  ].join("\n");
}

/** It has a server of its own in nothing: the fields have their usual names there. */
export function embeddedSnippet() {
  return [
    "from streamgauge import Streamgauge",
    "",
    "with Streamgauge() as gauge:",
    '    gauge.push_event({"type": "page_view", "value": 12.5, "user_id": "ada"})',
    '    print(gauge.query("events", by="type", aggregates=["count"]))',
  ].join("\n");
}

/** @param {string} address @param {Fields} fields */
export function replaySnippet(address, fields) {
  return [`echo ${shell(exampleEvent(fields))} > events.ndjson`, `streamgauge replay events.ndjson --url ${address}`].join("\n");
}

/** One message to a broker that is configured. @param {{url: string, example: string, type_field: string}} broker
 * @param {Fields} fields */
export function mosquittoSnippet({ url, example, type_field: type }, fields) {
  const broker = new URL(url.replace(/^mqtt/, "http"));
  const host = broker.hostname.replace(/^\[|\]$/g, "");
  const tls = url.startsWith("mqtts:") ? " --tls-use-os-certs" : "";
  const port = broker.port || (tls ? "443" : "80");
  return [`mosquitto_pub -h ${host} -p ${port}${tls} -q 1 \\`, `  -t ${shell(example)} \\`, `  -m ${shell(exampleEvent({ ...fields, type }))}`].join("\n");
}

/** What asks for a broker's messages, in the configuration. */
export const MQTT_CONFIGURATION = [
  "[[source]]",
  'kind = "mqtt"',
  'url = "mqtt://localhost:1883"',
  'topics = ["fleet/{site}/{device}/{type}"]',
].join("\n");

/** @param {Fields} fields */
function exampleEvent(fields) {
  return json({ [fields.type]: "page_view", [fields.value]: 12.5, [fields.user_id]: "ada" });
}

/** JSON with the spaces that people write. @param {Record<string, unknown>} object */
function json(object) {
  return `{${Object.entries(object).map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(", ")}}`;
}

/** One word for a shell, whatever is in it. @param {string} text */
function shell(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
