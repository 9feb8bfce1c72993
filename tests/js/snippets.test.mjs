// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  cloudEventsSnippet, curlSnippet, mosquittoSnippet, pageAddress, phoenixSnippet, pythonSnippet, replaySnippet, socketAddress,
  USUAL_FIELDS as USUAL,
} from "../../src/streamgauge/dashboard/snippets.js";

test("the address is the page's, below whatever path, without what stands behind it", () => {
  assert.equal(pageAddress("http://localhost:4000/?range=1h#/sources"), "http://localhost:4000");
  assert.equal(pageAddress("https://example.com/team/gauge/?type=a#/dead-letters"), "https://example.com/team/gauge");
  assert.equal(socketAddress("https://example.com/gauge"), "wss://example.com/gauge/socket");
  assert.equal(socketAddress("http://localhost:4000"), "ws://localhost:4000/socket");
});

test("every snippet goes to that address", () => {
  const address = "https://example.com/gauge";
  for (const snippet of [curlSnippet, cloudEventsSnippet]) assert.ok(snippet(address, USUAL).startsWith(`curl ${address}/api/events `));
  assert.ok(replaySnippet(address, USUAL).endsWith(`--url ${address}`));
  assert.ok(pythonSnippet(address, USUAL).includes('"https://example.com/gauge/api/events"'));
  assert.ok(phoenixSnippet(address, USUAL).includes('"wss://example.com/gauge/socket"'));
});

test("the parts of the event have the names that this server gives them, whatever a shell makes of them", () => {
  const fields = { ...USUAL, type: "what's up", value: "amount" };
  assert.ok(curlSnippet("http://a", fields).endsWith(`-d '{"what'\\''s up": "page_view", "amount": 12.5, "user_id": "ada"}'`));
  assert.ok(pythonSnippet("http://a", fields).includes(`event = {"what's up": "page_view", "amount": 12.5, "user_id": "ada"}\n`));
  assert.ok(cloudEventsSnippet("http://a", fields).includes(`-d '{"amount": 12.5}'`));
});

test("a broker's message goes to its host and port, with TLS where it has it, under the type that its source reads", () => {
  const broker = { url: "mqtt://broker:1883", example: "fleet/site1/1", type_field: "kind" };
  assert.equal(mosquittoSnippet(broker, USUAL),
    `mosquitto_pub -h broker -p 1883 -q 1 \\\n  -t 'fleet/site1/1' \\\n  -m '{"kind": "page_view", "value": 12.5, "user_id": "ada"}'`);
  assert.ok(mosquittoSnippet({ ...broker, url: "mqtts://[::1]:8883" }, USUAL).startsWith("mosquitto_pub -h ::1 -p 8883 --tls-use-os-certs "));
  assert.ok(mosquittoSnippet({ ...broker, url: "mqtt://broker:80" }, USUAL).includes(" -p 80 "));
});
