// An agent that knows nothing of cambist: it follows the proxy variables, and Node reads NODE_EXTRA_CA_CERTS.
import { EnvHttpProxyAgent, request } from 'undici';

const { AGENT_TOKEN, ...environment } = process.env;
const dispatcher = new EnvHttpProxyAgent();
const { statusCode, body } = await request(process.argv[2], {
  dispatcher,
  headers: { authorization: `Bearer ${AGENT_TOKEN}` },
});
await body.dump();
await dispatcher.close();
console.log(JSON.stringify({ status: statusCode, environment }));
