package javacluster.internal;

import java.io.DataInputStream;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import jdk.internal.vm.annotation.Hidden;

/**
 * Waits for one program on descriptor 3, runs it, and tells how it went on descriptor 4.
 *
 * <p>It is one of the JDK's own classes, or else on the boot class path, so that the annotation {@code Hidden}
 * counts: none of its frames is in a stack trace, and what a program prints when it dies is what plain {@code java}
 * prints (P4). Whatever the program throws leaves {@code main} again, for the virtual machine itself to report.
 *
 * <p>Records on descriptor 4: a kind, four bytes of length, and the payload, which begins with a nonce that came
 * with the program. The outcome's nonce is nowhere but in the frames of {@code main}: no object leads to it. A program
 * that walks the stack with the JDK's own internals may find it there, and lie about its own outcome, about nobody
 * else's. The other, which an orderly exit is told with, is a field of its hook: a program that digs it up can tell an
 * exit, which it could by exiting.
 */
public final class Launcher {
    private static final int CONTROL = 3;
    private static final int CHANNEL = 4;
    private static final int MESSAGE_MAX = 4096;
    private static final int CAUSES_MAX = 16;
    private static final int WARM = 'w';
    private static final int RUN = 't';
    private static final String NOTHING = "/dev/null";
    private static final String[] NEEDED = {
        "javacluster.internal.Launcher$Exit",
        "javacluster.internal.Launcher$Task",
        "javacluster.internal.Link",
        "javacluster.internal.Constants",
        "javacluster.internal.Host",
        "java.io.DataInputStream",
        "java.io.DataOutputStream",
        "java.lang.ApplicationShutdownHooks",
        "sun.security.util.Debug",
    };

    private static FileOutputStream channel;

    private Launcher() {}

    @Hidden
    public static void main(String[] argv) throws Throwable {
        boolean here = argv.length > 0;  // standard input and output serve when the archive is made
        FileInputStream control = new FileInputStream(here ? FileDescriptor.in : Host.descriptor(CONTROL));
        channel = new FileOutputStream(here ? FileDescriptor.out : Host.descriptor(CHANNEL));
        String directory = System.getProperty("java.class.path");
        prepare();
        write('R', new byte[0]);
        int order = control.read();
        for (int step = 0; order == WARM; order = control.read()) {
            Rehearsal.perform(step++);
            write('W', new byte[0]);
        }
        if (order != RUN) {
            return;
        }
        byte[] nonce = exactly(2 * Long.BYTES, control);
        long high = number(nonce, 0);
        long low = number(nonce, Long.BYTES);
        java.util.Arrays.fill(nonce, (byte) 0);
        Exit exit = new Exit(exactly(2 * Long.BYTES, control));
        Task task = Task.read(control, directory);
        control.close();
        Runtime.getRuntime().addShutdownHook(exit);
        System.setProperty("sun.java.command", task.command());
        Object value;
        try {
            ClassLoader loader = ClassLoader.getSystemClassLoader();
            Class<?> type = Class.forName(task.mainClass, false, loader);
            initialise(type, loader);
            value = (task.returnsValue ? Link.toRun(type) : Link.toMain(type)).apply(task.arguments);
        } catch (Throwable failure) {
            report(failure, high, low);
            throw failure;
        }
        if (value instanceof String text) {
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            if (bytes.length > task.valueMax) {
                send('L', high, low, new byte[0]);
            } else {
                send('V', high, low, bytes);
            }
        } else {
            send('D', high, low, new byte[0]);
        }
    }

    /** What each program needs for the first time, while nobody waits for it: no program is there yet. */
    private static void prepare() throws IOException, ClassNotFoundException {
        for (String name : NEEDED) {
            Class.forName(name, true, null);
        }
        try (FileOutputStream out = new FileOutputStream(NOTHING); FileInputStream in = new FileInputStream(NOTHING)) {
            out.write(exactly(0, in));  // with the thread that every opened file is cleaned up by
        }
        try {
            ClassLoader.getSystemClassLoader().loadClass("-");  // opens the class path
        } catch (ClassNotFoundException asExpected) {
            // no class can be called like that
        }
    }

    @Hidden
    private static void initialise(Class<?> type, ClassLoader loader) throws ReflectiveOperationException {
        try {
            Class.forName(type.getName(), true, loader);
        } catch (LinkageError failure) {
            for (Throwable t = failure; t != null; t = t.getCause()) {
                t.setStackTrace(withoutForName(t.getStackTrace()));
            }
            throw failure;
        }
    }

    /** Plain java initialises the class from native code: the frames of Class.forName are ours, not its own. */
    private static StackTraceElement[] withoutForName(StackTraceElement[] frames) {
        int end = frames.length;
        while (end > 0
                && frames[end - 1].getClassName().equals("java.lang.Class")
                && frames[end - 1].getMethodName().startsWith("forName")) {
            end--;
        }
        return end == frames.length ? frames : java.util.Arrays.copyOf(frames, end);
    }

    /** An error that the virtual machine keeps ready for when memory ends shows hidden frames too. */
    private static void hideOurselves(Throwable failure) {
        int depth = 0;
        for (Throwable t = failure; t instanceof VirtualMachineError && depth < CAUSES_MAX; t = t.getCause(), depth++) {
            StackTraceElement[] frames = t.getStackTrace();
            int end = frames.length;
            if (end == 0 || !frames[end - 1].getClassName().equals(Launcher.class.getName())) {
                continue;
            }
            while (end > 0
                    && (frames[end - 1].getClassName().equals(Launcher.class.getName())
                            || Link.made(frames[end - 1].getClassName()))) {
                end--;
            }
            t.setStackTrace(java.util.Arrays.copyOf(frames, end));
        }
    }

    /** The errors that only the virtual machine's own limits raise are told apart for the verdict (R2). */
    private static void report(Throwable failure, long high, long low) {
        hideOurselves(failure);
        byte kind = 0;
        int depth = 0;
        for (Throwable t = failure; t != null && depth < CAUSES_MAX; t = t.getCause(), depth++) {
            if (t instanceof OutOfMemoryError) {
                kind = (byte) memory(t);
                break;
            }
        }
        byte[] text;
        try {
            String line = failure.toString();
            line = line == null ? failure.getClass().getName() : line.lines().findFirst().orElse("");
            if (line.length() > MESSAGE_MAX) {
                line = line.substring(0, MESSAGE_MAX);
            }
            text = line.getBytes(StandardCharsets.UTF_8);
        } catch (Throwable hostile) {
            text = kind == 0 ? new byte[0] : OUT_OF_MEMORY;
        }
        byte[] payload = new byte[text.length + 1];
        payload[0] = kind;
        System.arraycopy(text, 0, payload, 1, text.length);
        send('X', high, low, payload);
    }

    private static final byte[] OUT_OF_MEMORY = "java.lang.OutOfMemoryError".getBytes(StandardCharsets.UTF_8);

    private static char memory(Throwable error) {
        String message = error.getMessage();
        if (message == null) {
            return 'h';
        }
        if (message.contains("native thread")) {
            return 't';
        }
        if (message.contains("etaspace") || message.contains("class space")) {
            return 'm';
        }
        if (message.contains("irect buffer")) {
            return 'd';
        }
        return message.contains("heap") || message.contains("GC overhead") || message.contains("array size")
                ? 'h' : 'n';
    }

    /** An outcome: the last that the program gets to see of the nonce, and then it is worth nothing. */
    private static void send(int kind, long high, long low, byte[] payload) {
        byte[] vouched = new byte[2 * Long.BYTES + payload.length];
        for (int i = 0; i < Long.BYTES; i++) {
            vouched[i] = (byte) (high >>> 8 * (Long.BYTES - 1 - i));
            vouched[Long.BYTES + i] = (byte) (low >>> 8 * (Long.BYTES - 1 - i));
        }
        System.arraycopy(payload, 0, vouched, 2 * Long.BYTES, payload.length);
        write(kind, vouched);
    }

    /** Read without a buffer that would keep it; a file's own readNBytes asks for a position, which a pipe has not. */
    private static byte[] exactly(int count, InputStream in) throws IOException {
        byte[] bytes = new byte[count];
        for (int at = 0; at < count; ) {
            int got = in.read(bytes, at, count - at);
            if (got < 0) {
                throw new IOException("the node is gone");
            }
            at += got;
        }
        return bytes;
    }

    private static long number(byte[] bytes, int at) {
        long number = 0;
        for (int i = 0; i < Long.BYTES; i++) {
            number = number << 8 | bytes[at + i] & 0xff;
        }
        return number;
    }

    private static synchronized void write(int kind, byte[] payload) {
        int length = payload.length;
        byte[] record = new byte[5 + length];
        record[0] = (byte) kind;
        record[1] = (byte) (length >>> 24);
        record[2] = (byte) (length >>> 16);
        record[3] = (byte) (length >>> 8);
        record[4] = (byte) length;
        System.arraycopy(payload, 0, record, 5, length);
        try {
            channel.write(record);
        } catch (IOException hostIsGone) {
            Runtime.getRuntime().halt(1);
        }
    }

    /** Tells that an orderly exit began. It has a name, so that the program's first thread is still Thread-0. */
    private static final class Exit extends Thread {
        private final byte[] nonce;

        Exit(byte[] nonce) {
            super(null, null, "exit", 0, false);
            this.nonce = nonce;
        }

        @Override
        public void run() {
            write('E', nonce);
        }
    }

    /** What arrives on descriptor 3: the counterpart of {@code frames.py: encode_task}. */
    private record Task(boolean returnsValue, int valueMax, String mainClass, String[] arguments) {
        static Task read(InputStream control, String directory) throws IOException {
            DataInputStream in = new DataInputStream(new java.io.BufferedInputStream(control, 65536));
            boolean returnsValue = in.readByte() == 'r';
            int valueMax = in.readInt();
            String mainClass = text(in);
            String[] arguments = new String[in.readInt()];
            for (int i = 0; i < arguments.length; i++) {
                arguments[i] = text(in);
            }
            for (int count = in.readInt(); count > 0; count--) {
                File file = new File(directory, text(in).concat(".class"));
                file.getParentFile().mkdirs();
                try (FileOutputStream out = new FileOutputStream(file)) {
                    out.write(bytes(in));
                }
            }
            for (int count = in.readInt(); count > 0; count--) {
                File file = new File(text(in));
                if (file.getParentFile() != null) {
                    file.getParentFile().mkdirs();
                }
                try (FileOutputStream out = new FileOutputStream(file)) {
                    out.write(bytes(in));
                }
            }
            return new Task(returnsValue, valueMax, mainClass, arguments);
        }

        String command() {
            return arguments.length == 0 ? mainClass : mainClass.concat(" ").concat(String.join(" ", arguments));
        }

        private static byte[] bytes(DataInputStream in) throws IOException {
            byte[] bytes = new byte[in.readInt()];
            in.readFully(bytes);
            return bytes;
        }

        private static String text(DataInputStream in) throws IOException {
            return new String(bytes(in), StandardCharsets.UTF_8);
        }
    }
}
