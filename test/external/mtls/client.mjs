// For each line of standard input, sends a request. With `new`, it closes its connection and reads its certificate again.
import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:https';
import { createInterface } from 'node:readline';

const { URL: url, FOLDER: folder, AUTHORIZATION: authorization } = process.env;
const read = (name) => readFileSync(`${folder}/${name}`);
let agent;

async function send() {
  return new Promise((resolve) => {
    get(url, { agent, headers: { authorization } }, (response) => {
      const { socket, statusCode: status, httpVersion } = response;
      const fingerprint = socket.getPeerCertificate().fingerprint256.replaceAll(':', '').toLowerCase();
      const result = { status, version: `HTTP/${httpVersion}`, port: socket.localPort, fingerprint };
      response.resume().once('end', () => resolve(result));
    }).once('error', ({ message }) => resolve({ error: message }));
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'new') {
    agent?.destroy();
    const files = { ca: read('ca.pem'), cert: read('client.crt'), key: read('client.key') };
    agent = new Agent({ keepAlive: true, maxSockets: 1, ...files });
  }
  console.log(JSON.stringify(await send()));
}
agent?.destroy();
