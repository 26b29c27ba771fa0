import type { EventStore } from '@modelcontextprotocol/server';

type Message = Parameters<EventStore['storeEvent']>[1];

/** Stores the events of each stream, so that a client can resume a stream by its last event id. */
export function createEventStore(): EventStore {
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
