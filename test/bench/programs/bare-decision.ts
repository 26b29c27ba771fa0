import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { announce } from './proxy-options.ts';
import { fabricateToken } from './tokens.ts';

/** The least that `node:http` takes for a decision: it reads no header, and allows every request with the same token. */
const headers = {
  authorization: `Bearer ${fabricateToken('anyone', 'bench')}`,
  'cache-control': 'no-store',
  'content-length': 0,
};

const server = createServer((request, response) => {
  response.writeHead(200, headers).end();
  if (!request.complete) request.resume();
});
server.listen(0, '127.0.0.1', () => announce((server.address() as AddressInfo).port));
