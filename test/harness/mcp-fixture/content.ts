import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type CallToolResult,
  type ContentBlock,
  fromJsonSchema,
  type McpServer,
  ResourceTemplate,
} from '@modelcontextprotocol/server';
import { z } from 'zod';

/** A PNG image of one pixel. */
export const IMAGE = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==';
/** A WAV file without samples. */
const AUDIO = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=';

export const WATCHED_URI = 'test://watched-resource';

export function text(value: string): CallToolResult {
  return { content: [{ type: 'text', text: value }] };
}

export function content(...blocks: ContentBlock[]): CallToolResult {
  return { content: blocks };
}

export function image(): ContentBlock {
  return { type: 'image', data: IMAGE, mimeType: 'image/png' };
}

export function embedded(uri: string, mimeType: string, value: string): ContentBlock {
  return { type: 'resource', resource: { uri, mimeType, text: value } };
}

export function registerResources(server: McpServer): void {
  server.registerResource('static-text', 'test://static-text', { mimeType: 'text/plain' }, ({ href: uri }) => ({
    contents: [{ uri, mimeType: 'text/plain', text: 'This is the content of the static text resource.' }],
  }));
  server.registerResource('static-binary', 'test://static-binary', { mimeType: 'image/png' }, ({ href: uri }) => ({
    contents: [{ uri, mimeType: 'image/png', blob: IMAGE }],
  }));
  server.registerResource(
    'template',
    new ResourceTemplate('test://template/{id}/data', { list: undefined }),
    { mimeType: 'application/json' },
    ({ href: uri }, { id }) => ({
      contents: [
        {
          uri,
          mimeType: 'application/json',
          text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }),
        },
      ],
    }),
  );
  server.registerResource('watched-resource', WATCHED_URI, { mimeType: 'text/plain' }, ({ href: uri }) => ({
    contents: [{ uri, mimeType: 'text/plain', text: 'Watched resource content' }],
  }));
}

export interface FixtureEvents {
  /** Notifies every subscribed client. */
  resourceUpdated(uri: string): void;
  toolsChanged(): void;
  promptsChanged(): void;
  /** The client cancelled a call of `wait`. */
  cancelled(label: string): void;
}

/** Tools for notifications and cancellation. */
export function registerWatchTools(server: McpServer, name: string, events: FixtureEvents): void {
  server.registerTool('whoami', { description: 'Returns the claims of the received token.' }, ({ http }) => {
    const { sub, aud, act, scope } = http?.authInfo?.extra ?? {};
    return text(JSON.stringify({ server: name, sub, aud, act, scope }));
  });
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

const PAUSE_MS = 20;

/** Tools that return without client input. The conformance suite expects these names and results. */
export function registerPlainTools(server: McpServer): void {
  server.registerTool('test_simple_text', { description: 'One text.' }, () =>
    text('This is a simple text response for testing.'),
  );
  server.registerTool('test_image_content', { description: 'One image.' }, () => content(image()));
  server.registerTool('test_audio_content', { description: 'One sound.' }, () =>
    content({ type: 'audio', data: AUDIO, mimeType: 'audio/wav' }),
  );
  server.registerTool('test_embedded_resource', { description: 'One embedded resource.' }, () =>
    content(embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')),
  );
  server.registerTool('test_multiple_content_types', { description: 'Text, image and resource.' }, () =>
    content(
      { type: 'text', text: 'Multiple content types test:' },
      image(),
      embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
    ),
  );
  server.registerTool('test_error_handling', { description: 'Fails.' }, () => {
    throw new Error('This tool intentionally returns an error for testing');
  });
  registerNotifyingTools(server);
  registerSchemaTools(server);
}

function registerNotifyingTools(server: McpServer): void {
  server.registerTool('test_tool_with_logging', { description: 'Logs three times.' }, async ({ mcpReq }) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await mcpReq.notify({ method: 'notifications/message', params: { level: 'info', data } });
      await delay(PAUSE_MS);
    }
    return text('Tool with logging executed successfully');
  });
  server.registerTool('test_logging_tool', { description: 'Logs at the requested level.' }, async ({ mcpReq }) => {
    await mcpReq.log('info', 'ran');
    return text('logged');
  });
  server.registerTool('test_tool_with_progress', { description: 'Reports its progress.' }, async ({ mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (const progress of progressToken === undefined ? [] : [0, 50, 100]) {
      const params = { progressToken, progress, total: 100, message: `Completed step ${progress} of 100` };
      await mcpReq.notify({ method: 'notifications/progress', params });
      await delay(PAUSE_MS);
    }
    return text(String(progressToken ?? 'no progress token'));
  });
  server.registerTool('test_streaming_elicitation', { description: 'Requests no input.' }, () =>
    text('no input requested'),
  );
}

function registerSchemaTools(server: McpServer): void {
  // `x-mcp-header` belongs to MCP and is unknown to the types of JSON Schema.
  const region: Record<string, unknown> = { type: 'string', 'x-mcp-header': 'Region' };
  const mirrored = fromJsonSchema<{ region?: string; level?: number }>({
    type: 'object',
    properties: { region, level: { type: 'integer' } },
  });
  server.registerTool(
    'test_x_mcp_header',
    { description: 'Has an argument that clients copy to a header.', inputSchema: mirrored },
    ({ region = 'none' }) => text(`region=${region}`),
  );
  const schema = fromJsonSchema({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    $defs: {
      address: {
        $anchor: 'addressDef',
        type: 'object',
        properties: { street: { type: 'string' }, city: { type: 'string' } },
      },
    },
    properties: {
      name: { type: 'string' },
      address: { $ref: '#/$defs/address' },
      contactMethod: { type: 'string', enum: ['phone', 'email'] },
      phone: { type: 'string' },
      email: { type: 'string' },
    },
    allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
    if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: { required: ['phone'] },
    else: { required: ['email'] },
    additionalProperties: false,
  });
  server.registerTool(
    'json_schema_2020_12_tool',
    { description: 'Has a schema with many keywords of JSON Schema 2020-12.', inputSchema: schema },
    (args) => text(JSON.stringify(args)),
  );
  server.registerTool(
    'echo',
    { description: 'Returns the message.', inputSchema: z.object({ message: z.string() }) },
    ({ message }) => text(message),
  );
}
