// Node 20 ignores the proxy variables. undici's agent reads them.
import { EnvHttpProxyAgent, fetch } from 'undici';

const { URL: url, TOKEN, BODY } = process.env;
const headers = {
  authorization: `Bearer ${TOKEN}`,
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
};
const response = await fetch(url, { method: 'POST', headers, body: BODY, dispatcher: new EnvHttpProxyAgent() });
await response.body?.cancel();
console.log(response.status);
process.exit();
