import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { NodeStreamableHTTPServerTransport } from '@modelcontextprotocol/node';
import { type EventStore, isInitializeRequest, type McpServer } from '@modelcontextprotocol/server';

/** The delay before a client resumes a closed stream. */
const RETRY_MS = 200;

interface Session {
  server: McpServer;
  transport: NodeStreamableHTTPServerTransport;
  watched: Set<string>;
}

export function createSessions(createServer: () => McpServer) {
  const sessions = new Map<string, Session>();

  async function open(): Promise<Session> {
    const server = createServer();
    const watched = new Set<string>();
    server.server.setRequestHandler('resources/subscribe', ({ params }) => {
      watched.add(params.uri);
      return {};
    });
    server.server.setRequestHandler('resources/unsubscribe', ({ params }) => {
      watched.delete(params.uri);
      return {};
    });
    const transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: createEventStore(),
      retryInterval: RETRY_MS,
      onsessioninitialized: (id) => void sessions.set(id, session),
      onsessionclosed: (id) => void sessions.delete(id),
    });
    const session = { server, transport, watched };
    await server.connect(transport);
    return session;
  }

  return {
    /** Serves a request of a revision before 2026-07-28. */
    async handle(request: IncomingMessage, response: ServerResponse, body: unknown): Promise<void> {
      const id = request.headers['mcp-session-id'];
      const known = typeof id === 'string' ? sessions.get(id) : undefined;
      if (known !== undefined) return known.transport.handleRequest(request, response, body);
      if (id !== undefined) return refuse(response, 404, 'Session not found');
      if (!isInitializeRequest(body)) return refuse(response, 400, 'Bad Request: Session ID required');
      const { transport } = await open();
      await transport.handleRequest(request, response, body);
    },
    /** Notifies the subscribed clients. */
    resourceUpdated(uri: string) {
      for (const { server, watched } of sessions.values()) {
        if (watched.has(uri)) void server.server.sendResourceUpdated({ uri });
      }
    },
    ids: () => [...sessions.keys()],
    lose: () => sessions.clear(),
    close: async () => {
      await Promise.all([...sessions.values()].map(({ server }) => server.close()));
    },
  };
}

function refuse(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(
    JSON.stringify({ jsonrpc: '2.0', error: { code: status === 404 ? -32001 : -32000, message }, id: null }),
  );
}

type Message = Parameters<EventStore['storeEvent']>[1];

/** Stores the events of each stream, so that a client can resume a stream by its last event id. */
function createEventStore(): EventStore {
  const events: { stream: string; message: Message }[] = [];
  const at = (id: string) => Number(id) - 1;
  return {
    async storeEvent(stream, message) {
      return String(events.push({ stream, message }));
    },
    async getStreamIdForEventId(id) {
      return events[at(id)]?.stream;
    },
    async replayEventsAfter(lastId, { send }) {
      const stream = events[at(lastId)]?.stream ?? '';
      const rest = events.map((event, index) => ({ ...event, index })).slice(at(lastId) + 1);
      for (const event of rest) {
        // The event that opens a stream has an id but no message.
        if (event.stream === stream && 'jsonrpc' in event.message) await send(String(event.index + 1), event.message);
      }
      return stream;
    },
  };
}
