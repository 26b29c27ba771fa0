import { once } from 'node:events';
import type { McpServer } from '@modelcontextprotocol/server';
import { text, WATCHED_URI } from './content.ts';

/** Events beside the responses. */
export interface FixtureEvents {
  /** Notifies every subscribed client. */
  resourceUpdated(uri: string): void;
  toolsChanged(): void;
  promptsChanged(): void;
  /** The client cancelled a call of `wait`. */
  cancelled(label: string): void;
}

/** Tools for notifications and cancellation. */
export function registerWatchTools(server: McpServer, events: FixtureEvents): void {
  server.registerTool('whoami', { description: 'Returns audience and subject of the received token.' }, ({ http }) =>
    text(JSON.stringify({ aud: http?.authInfo?.extra?.aud, sub: http?.authInfo?.extra?.sub })),
  );
  server.registerTool('touch', { description: 'Changes the watched resource.' }, () => {
    events.resourceUpdated(WATCHED_URI);
    return text('touched');
  });
  server.registerTool('wait', { description: 'Returns when its call is cancelled.' }, async ({ mcpReq }) => {
    const { progressToken } = mcpReq._meta ?? {};
    if (progressToken !== undefined) {
      await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress: 1 } });
    }
    if (!mcpReq.signal.aborted) await once(mcpReq.signal, 'abort');
    events.cancelled('wait');
    return text('cancelled');
  });
  server.registerTool(
    'test_trigger_tool_change',
    { description: 'Sends a notification that the tools changed.' },
    () => {
      events.toolsChanged();
      return text('sent');
    },
  );
  server.registerTool(
    'test_trigger_prompt_change',
    { description: 'Sends a notification that the prompts changed.' },
    () => {
      events.promptsChanged();
      return text('sent');
    },
  );
}
