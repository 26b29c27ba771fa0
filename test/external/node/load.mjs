/**
 * Runs in the agent's container: `node --input-type=module -e LOAD CALLS PARALLEL BYTES`, with tokens on standard input. Prints how often each status came.
 * Half of the calls go to each backend, because one alone gets at most three quarters of the requests in flight.
 */
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';

const [calls, parallel, bytes] = process.argv.slice(1).map(Number);
const agent = new Agent({ keepAlive: true });
const body = Buffer.alloc(bytes, 'x');
const tokens = readFileSync(0, 'utf8').trim().split('\n');
const paths = ['/github', '/ledger'];

function call(number) {
  const headers = { authorization: `Bearer ${tokens[number % tokens.length]}`, 'content-length': bytes };
  const options = { agent, host: '127.0.0.1', port: 8180, method: 'POST', path: paths[number % 2], headers };
  return new Promise((resolve) => {
    const sent = request(options, (response) => {
      response.resume().on('close', () => resolve(response.complete ? response.statusCode : 'incomplete'));
    });
    sent.on('error', ({ code }) => resolve(code)).end(body);
  });
}

const statuses = {};
let next = 0;
const send = async () => {
  while (next < calls) {
    next += 1;
    const status = await call(next);
    statuses[status] = (statuses[status] ?? 0) + 1;
  }
};
await Promise.all(Array.from({ length: parallel }, send));
console.log(JSON.stringify(statuses));
process.exit();
