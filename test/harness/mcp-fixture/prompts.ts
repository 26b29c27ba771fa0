import { inputRequired, type McpServer, type ServerContext } from '@modelcontextprotocol/server';
import { z } from 'zod';
import { IMAGE } from './content.ts';
import { ask, replyTo } from './input-tools.ts';

type Message = ReturnType<typeof say>;

function say(text: string) {
  return { role: 'user' as const, content: { type: 'text' as const, text } };
}

/** The prompts that the conformance suite expects. */
export function registerPrompts(server: McpServer): void {
  const messages = (...all: Message[]) => ({ messages: all });
  server.registerPrompt('test_simple_prompt', { description: 'Has no arguments.' }, () =>
    messages(say('This is a simple prompt for testing.')),
  );
  server.registerPrompt(
    'test_prompt_with_arguments',
    { description: 'Has two arguments.', argsSchema: z.object({ arg1: z.string(), arg2: z.string() }) },
    ({ arg1, arg2 }) => messages(say(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  );
  server.registerPrompt(
    'test_prompt_with_embedded_resource',
    { description: 'Contains a resource.', argsSchema: z.object({ resourceUri: z.string() }) },
    ({ resourceUri: uri }) => ({
      messages: [
        {
          role: 'user',
          content: {
            type: 'resource',
            resource: { uri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' },
          },
        },
        say('Please process the embedded resource above.'),
      ],
    }),
  );
  server.registerPrompt('test_prompt_with_image', { description: 'Contains an image.' }, () => ({
    messages: [
      { role: 'user', content: { type: 'image', data: IMAGE, mimeType: 'image/png' } },
      say('Please analyze the image above.'),
    ],
  }));
  server.registerPrompt(
    'test_input_required_result_prompt',
    { description: 'Requests input before it returns.' },
    (given) => {
      // Without a schema of arguments, the first parameter is the context. The SDK's types do not declare this.
      const context = replyTo(given as ServerContext, 'user_context')?.context;
      if (typeof context !== 'string') {
        return inputRequired({ inputRequests: { user_context: ask('Which context?', 'context') } });
      }
      return messages(say(`Use the following context: ${context}`));
    },
  );
}
