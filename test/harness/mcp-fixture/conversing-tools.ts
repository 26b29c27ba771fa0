import { setTimeout as delay } from 'node:timers/promises';
import type { CallToolResult, McpServer, ServerContext } from '@modelcontextprotocol/server';
import { z } from 'zod';
import { text } from './content.ts';

const RECONNECT_MS = 100;

/** Tools that send requests to the client during a call, as in revisions before 2026-07-28. */
export function registerConversingTools(server: McpServer): void {
  server.registerTool(
    'test_sampling',
    { description: 'Requests sampling by the client.', inputSchema: z.object({ prompt: z.string() }) },
    async ({ prompt }, { mcpReq }) => {
      const messages = [{ role: 'user' as const, content: { type: 'text' as const, text: prompt } }];
      const { content } = await mcpReq.requestSampling({ messages, maxTokens: 100 });
      return text(`LLM response: ${'text' in content ? content.text : JSON.stringify(content)}`);
    },
  );
  server.registerTool(
    'test_elicitation',
    { description: 'Requests input from the user.', inputSchema: z.object({ message: z.string() }) },
    ({ message }, context) =>
      elicit(context, message, { response: { type: 'string', description: "User's response" } }, ['response']),
  );
  server.registerTool(
    'test_elicitation_sep1034_defaults',
    { description: 'Requests input with defaults.' },
    (context) =>
      elicit(context, 'Please review and update the form fields with defaults', {
        name: { type: 'string', default: 'John Doe' },
        age: { type: 'integer', default: 30 },
        score: { type: 'number', default: 95.5 },
        status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
        verified: { type: 'boolean', default: true },
      }),
  );
  server.registerTool('test_elicitation_sep1330_enums', { description: 'Requests choices.' }, (context) =>
    elicit(context, 'Please select options from the enum fields', {
      untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
      titledSingle: { type: 'string', oneOf: titled('Option') },
      legacyEnum: {
        type: 'string',
        enum: ['opt1', 'opt2', 'opt3'],
        enumNames: ['Option One', 'Option Two', 'Option Three'],
      },
      untitledMulti: {
        type: 'array',
        minItems: 1,
        maxItems: 3,
        items: { type: 'string', enum: ['option1', 'option2', 'option3'] },
      },
      titledMulti: { type: 'array', minItems: 1, maxItems: 3, items: { anyOf: titled('Choice') } },
    }),
  );
  server.registerTool(
    'test_reconnection',
    { description: 'Closes its stream before it returns.' },
    async ({ http }) => {
      http?.closeSSE?.();
      await delay(RECONNECT_MS);
      return text('returned after the stream was closed');
    },
  );
}

function titled(what: string): { const: string; title: string }[] {
  return ['First', 'Second', 'Third'].map((title, index) => ({
    const: `value${index + 1}`,
    title: `${title} ${what}`,
  }));
}

async function elicit(
  { mcpReq }: ServerContext,
  message: string,
  properties: Record<string, unknown>,
  required: string[] = [],
): Promise<CallToolResult> {
  const params = { message, requestedSchema: { type: 'object', properties, required } };
  const { action, content } = await mcpReq.send({ method: 'elicitation/create', params });
  return text(`User response: action=${action}, content=${JSON.stringify(content ?? {})}`);
}
