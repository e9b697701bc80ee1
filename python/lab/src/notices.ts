import { ISessionContext, Notification } from '@jupyterlab/apputils';
import { Cell, CodeCell } from '@jupyterlab/cells';
import { Notebook, NotebookActions } from '@jupyterlab/notebook';
import { Kernel } from '@jupyterlab/services';

const mib = (bytes: number): string => `${Math.round(bytes / (1 << 20))} MiB`;

/** Tells why nothing is kept, below the first cell that is run in each notebook. */
export function tellInCells(reason: string): void {
  const told = new WeakSet<Notebook>();
  NotebookActions.executionScheduled.connect((_: unknown, { notebook, cell }: { notebook: Notebook; cell: Cell }) => {
    if (!(cell instanceof CodeCell) || told.has(notebook)) {
      return;
    }
    told.add(notebook);
    // Its outputs are cleared when the request is sent.
    const before = cell.outputArea.future;
    const tell = (frames: number): void => {
      if (cell.isDisposed || frames === 0) {
        return;
      }
      if (!cell.outputArea.future || cell.outputArea.future === before) {
        requestAnimationFrame(() => tell(frames - 1));
        return;
      }
      cell.model.outputs.add({ output_type: 'stream', name: 'stderr', text: `[elastichub: ${reason}]\n` });
    };
    tell(600);
  });
}

/** Tells of a message that is so large that the server hangs up. */
export function watchSizes(context: ISessionContext, limit: number): void {
  const watch = (_: Kernel.IKernelConnection, { msg, direction }: Kernel.IAnyMessageArgs): void => {
    const size = (msg.buffers ?? []).reduce((sum, buffer) => sum + buffer.byteLength, 0);
    if (direction === 'send' && size > limit) {
      const words = `A message of ${mib(size)} was not sent: the notebook server reads ${mib(limit)} at most.`;
      Notification.error(words, { autoClose: false });
    }
  };
  const attend = (kernel: Kernel.IKernelConnection | null | undefined): void => {
    kernel?.anyMessage.connect(watch);
  };
  attend(context.session?.kernel);
  context.kernelChanged.connect((_, { newValue }) => attend(newValue));
}
