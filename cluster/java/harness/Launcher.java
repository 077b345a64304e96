package javacluster.internal;

import java.io.DataInputStream;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.function.Function;
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
 *
 * <p>A program may leave no memory at all, and its outcome must be told all the same: what tells it is made before
 * the program is there, and makes no object any more. Nor is a method of the program's called for it: what those do
 * is for the virtual machine to see, once.
 */
public final class Launcher {
    private static final int CONTROL = 3;
    private static final int CHANNEL = 4;
    private static final int MESSAGE_MAX = 4096;
    private static final int CAUSES_MAX = 16;
    private static final int WARM = 'w';
    private static final int RUN = 't';
    private static final String NOTHING = "/dev/null";
    private static final String OUT_OF_MEMORY = "java.lang.OutOfMemoryError";
    private static final String[] NEEDED = {
        "javacluster.internal.Launcher$Exit",
        "javacluster.internal.Launcher$Letter",
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
        write(record('R', new byte[0]));
        int order = control.read();
        for (int step = 0; order == WARM; order = control.read()) {
            Rehearsal.perform(step++);
            write(record('W', new byte[0]));
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
        Letter letter = new Letter();
        Object value;
        try {
            ClassLoader loader = ClassLoader.getSystemClassLoader();
            Class<?> type = Class.forName(task.mainClass, false, loader);
            Function<Object, Object> entry = task.returnsValue ? Link.toRun(type) : Link.toMain(type);
            if (Link.elsewhere()) {
                initialise(type, loader);
            }
            value = entry.apply(task.arguments);
        } catch (Throwable failure) {
            report(failure, high, low, letter);
            throw failure;
        }
        if (value instanceof String text) {
            letter.send('V', high, low, -1, text, task.valueMax);
        } else {
            letter.send('D', high, low, -1, "", 0);
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
        Letter.prepare();
        try {
            ClassLoader.getSystemClassLoader().loadClass("-");  // opens the class path
        } catch (ClassNotFoundException asExpected) {
            // no class can be called like that
        }
    }

    /**
     * A class that inherits its {@code main} is not initialised by calling it. Plain java does that from native code:
     * the frames of Class.forName are ours, not its own.
     */
    @Hidden
    private static void initialise(Class<?> type, ClassLoader loader) throws ReflectiveOperationException {
        try {
            Class.forName(type.getName(), true, loader);
        } catch (Throwable failure) {
            hideForName(failure);
            throw failure;
        }
    }

    private static void hideForName(Throwable failure) {
        try {
            Throwable t = failure;
            for (int depth = 0; t != null && plain(t) && depth < CAUSES_MAX; t = t.getCause(), depth++) {
                t.setStackTrace(withoutForName(t.getStackTrace()));
            }
        } catch (Throwable noMemory) {
            // then there is none to print the frames either
        }
    }

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
        Throwable t = failure;
        for (; t != null && depth < CAUSES_MAX && plain(t); t = t.getCause(), depth++) {
            if (!(t instanceof VirtualMachineError)) {
                continue;
            }
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

    /** The errors that the virtual machine's own limits raise are told apart for the verdict (R2). */
    private static void report(Throwable failure, long high, long low, Letter letter) {
        try {
            hideOurselves(failure);
        } catch (Throwable noMemory) {
            // then there is none to print the frames either
        }
        int kind = 0;
        Throwable t = failure;
        for (int depth = 0; t != null && depth < CAUSES_MAX; t = plain(t) ? t.getCause() : null, depth++) {
            if (t.getClass() == OutOfMemoryError.class) {
                kind = memory(t);
                break;
            }
        }
        String text;
        try {
            text = plain(failure) ? failure.toString() : failure.getClass().getName();
        } catch (Throwable noMemory) {
            text = kind == 0 ? "" : OUT_OF_MEMORY;
        }
        letter.send('X', high, low, kind, text, 4 * MESSAGE_MAX);
    }

    /** Whether its text, cause and frames are told by the JDK's own methods, as those of most exceptions are. */
    @SuppressWarnings("removal")
    private static boolean plain(Throwable failure) {
        try {
            for (Class<?> type = failure.getClass(); type.getClassLoader() != null; type = type.getSuperclass()) {
                if (System.getSecurityManager() != null) {
                    return false;  // the program's own would be asked, and see us
                }
                for (Method method : type.getDeclaredMethods()) {
                    if (TELLING.contains(method.getName()) && method.getParameterCount() < 2) {
                        return false;
                    }
                }
            }
            return true;
        } catch (OutOfMemoryError noMemory) {
            return true;
        } catch (Throwable broken) {
            return false;
        }
    }

    private static final java.util.Set<String> TELLING = java.util.Set.of(
            "toString", "getMessage", "getLocalizedMessage", "getCause", "getStackTrace", "setStackTrace");

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

    /**
     * An outcome: the last that the program gets to see of the nonce, and then it is worth nothing. Only the frames of
     * {@code main} have the letter.
     */
    private static final class Letter {
        /** As much as a file's stream copies without asking for memory. */
        private final byte[] piece = new byte[8192];
        private int filled;

        /**
         * Kind, length, nonce, perhaps one octet more, and a text; nobody else writes meanwhile.
         *
         * @param sort the one octet; negative for none
         * @param most octets of text: of one that has more, only that is told
         */
        void send(int kind, long high, long low, int sort, String text, int most) {
            synchronized (Launcher.class) {
                int end = kind == 'X' ? firstLine(text) : text.length();
                int length = length(text, end, most);
                if (length > most) {
                    kind = 'L';
                    end = length = 0;
                }
                put(kind, 1);
                put(2 * Long.BYTES + (sort < 0 ? 0 : 1) + length, Integer.BYTES);
                put(high, Long.BYTES);
                put(low, Long.BYTES);
                if (sort >= 0) {
                    put(sort, 1);
                }
                put(text, end);
                flush();
            }
        }

        /** All that is needed for that is loaded before there is a program. */
        static void prepare() {
            String text = "a\u00e9\u540d\ud83d\ude00";
            length(text, text.length(), text.length());
            new Letter().put(text, text.length());
        }

        /** Of the text's first characters, in octets of UTF-8; more than {@code most} is not counted to the end. */
        static int length(String text, int end, int most) {
            int length = 0;
            for (int at = 0, point; at < end && length <= most; at += Character.charCount(point)) {
                point = text.codePointAt(at);
                length += octets(point);
            }
            return length;
        }

        private static int firstLine(String text) {
            int end = 0;
            while (end < text.length() && end < MESSAGE_MAX && text.charAt(end) != '\n' && text.charAt(end) != '\r') {
                end++;
            }
            return end > 0 && Character.isHighSurrogate(text.charAt(end - 1)) ? end - 1 : end;
        }

        private static int octets(int point) {
            if (point < 0x80 || point >= Character.MIN_SURROGATE && point <= Character.MAX_SURROGATE) {
                return 1;
            }
            return point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        }

        /** Half of a pair is a question mark, as the JDK has it. */
        private static long encoded(int point) {
            int last = 0x80 | point & 0x3f;
            int third = 0x80 | point >>> 6 & 0x3f;
            switch (octets(point)) {
                case 1:
                    return point < 0x80 ? point : '?';
                case 2:
                    return (0xc0 | point >>> 6) << 8 | last;
                case 3:
                    return (0xe0 | point >>> 12) << 16 | third << 8 | last;
                default:
                    return (0xf0L | point >>> 18) << 24 | (0x80L | point >>> 12 & 0x3f) << 16 | third << 8 | last;
            }
        }

        private void put(String text, int end) {
            for (int at = 0, point; at < end; at += Character.charCount(point)) {
                point = text.codePointAt(at);
                put(encoded(point), octets(point));
            }
        }

        private void put(long value, int octets) {
            for (int shift = 8 * (octets - 1); shift >= 0; shift -= 8) {
                if (filled == piece.length) {
                    flush();
                }
                piece[filled++] = (byte) (value >>> shift);
            }
        }

        private void flush() {
            write(piece, filled);
            filled = 0;
        }
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

    private static byte[] record(int kind, byte[] payload) {
        int length = payload.length;
        byte[] record = new byte[5 + length];
        record[0] = (byte) kind;
        record[1] = (byte) (length >>> 24);
        record[2] = (byte) (length >>> 16);
        record[3] = (byte) (length >>> 8);
        record[4] = (byte) length;
        System.arraycopy(payload, 0, record, 5, length);
        return record;
    }

    private static void write(byte[] record) {
        write(record, record.length);
    }

    private static synchronized void write(byte[] bytes, int length) {
        try {
            channel.write(bytes, 0, length);
        } catch (IOException hostIsGone) {
            Runtime.getRuntime().halt(1);
        }
    }

    /** Tells that an orderly exit began. It has a name, so that the program's first thread is still Thread-0. */
    private static final class Exit extends Thread {
        private final byte[] record;

        Exit(byte[] nonce) {
            super(null, null, "exit", 0, false);
            record = record('E', nonce);
        }

        @Override
        public void run() {
            write(record);
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
