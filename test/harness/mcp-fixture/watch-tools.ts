import { once } from 'node:events';
import type { McpServer } from '@modelcontextprotocol/server';
import { text, WATCHED_URI } from './content.ts';

/** What happens beside the answers, for a test to look at. */
export interface FixtureEvents {
  /** To every client that asked to be told. */
  resourceUpdated(uri: string): void;
  toolsChanged(): void;
  promptsChanged(): void;
  /** A call of `wait` was cancelled by its client. */
  cancelled(label: string): void;
}

/** Tools about what comes unasked, or stays away. */
export function registerWatchTools(server: McpServer, events: FixtureEvents): void {
  server.registerTool('whoami', { description: 'Says for whom the token was that came here.' }, ({ http }) =>
    text(JSON.stringify({ aud: http?.authInfo?.extra?.aud, sub: http?.authInfo?.extra?.sub })),
  );
  server.registerTool('touch', { description: 'Changes the watched resource.' }, () => {
    events.resourceUpdated(WATCHED_URI);
    return text('touched');
  });
  server.registerTool('wait', { description: 'Answers when its call is cancelled.' }, async ({ mcpReq }) => {
    const { progressToken } = mcpReq._meta ?? {};
    if (progressToken !== undefined) {
      await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress: 1 } });
    }
    if (!mcpReq.signal.aborted) await once(mcpReq.signal, 'abort');
    events.cancelled('wait');
    return text('cancelled');
  });
  server.registerTool('test_trigger_tool_change', { description: 'Says that the tools changed.' }, () => {
    events.toolsChanged();
    return text('said');
  });
  server.registerTool('test_trigger_prompt_change', { description: 'Says that the prompts changed.' }, () => {
    events.promptsChanged();
    return text('said');
  });
}
