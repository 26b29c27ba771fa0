// fetch and node:https, as an agent without any library uses them.
import { request } from 'node:https';

const { URL: url, TOKEN, BODY } = process.env;
const headers = {
  authorization: `Bearer ${TOKEN}`,
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
};
const response = await fetch(url, { method: 'POST', headers, body: BODY });
await response.body?.cancel();
const status = await new Promise((resolve, reject) => {
  const sent = request(url, { method: 'POST', headers }, (incoming) => {
    incoming.resume();
    resolve(incoming.statusCode);
  });
  sent.on('error', reject);
  sent.end(BODY);
});
console.log(response.status, status);
process.exit();
