// The network outside of a pod: passes each TCP connection to port 443 on to a Unix socket, as the backend behind it, and counts
// everything that arrives. Prints a line for each arrival.
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

const [, , backend] = process.argv;
const server = createServer((client) => {
  console.log('tcp');
  const socket = connect({ path: backend });
  client.on('error', () => socket.destroy()).on('close', () => socket.destroy());
  socket.on('error', () => client.destroy()).on('close', () => client.destroy());
  client.pipe(socket).pipe(client);
});
const datagrams = createSocket({ type: 'udp6' }).on('message', () => console.log('udp'));
datagrams.bind(443, '::', () => server.listen(443, '::', () => console.log('ready')));
