import { openWarmConnections, runClosedLoop, sendEach } from './closed-loop.ts';
import { createOpenStreams } from './connection.ts';
import { runOpenLoop } from './open-loop.ts';
import type { Command, Connection, Reply } from './protocol.ts';
import { startTokenServer, type TokenServer } from './tokens.ts';
import { startUpstream } from './upstream.ts';

/** The load process: callers, upstream and authorization server. It executes the commands of its parent. */
const streams = createOpenStreams();
let tokenServer: TokenServer | undefined;
/** The next closed loop uses them. */
let warmConnections: readonly Connection[] | undefined;

async function execute(command: Command): Promise<unknown> {
  switch (command.do) {
    case 'listen': {
      const { port, tlsPort } = await startUpstream(command.tls);
      tokenServer = await startTokenServer();
      return { upstreamPort: port, tlsPort, issuer: tokenServer.issuer };
    }
    case 'each':
      return sendEach(command.target, command.connections);
    case 'connect': {
      const { connections, ...result } = await openWarmConnections(command.target, command.connections);
      warmConnections = connections;
      return result;
    }
    case 'closed': {
      const before = tokenServer?.issued() ?? 0;
      const warm = warmConnections;
      warmConnections = undefined;
      const result = await runClosedLoop(command.target, command.connections, command.seconds, warm);
      return { ...result, exchanges: (tokenServer?.issued() ?? 0) - before };
    }
    case 'open':
      return runOpenLoop(command.target, command.perSecond, command.seconds);
    case 'hold':
      return streams.open(command.target, command.count);
    case 'release':
      return streams.release();
    default:
      return command satisfies never;
  }
}

process.on('message', (command: Command) => {
  const reply = (outcome: { result: unknown } | { error: string }): void => {
    process.send?.({ id: command.id, ...outcome } satisfies Reply);
  };
  execute(command).then(
    (result) => reply({ result }),
    (error: unknown) => reply({ error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => process.exit());
