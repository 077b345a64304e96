package javacluster.internal;

import com.sun.source.util.TaskEvent;
import com.sun.source.util.TaskListener;
import com.sun.tools.javac.api.BasicJavacTask;
import com.sun.tools.javac.api.JavacTaskPool;
import com.sun.tools.javac.code.Symbol.ClassSymbol;
import com.sun.tools.javac.code.Symtab;
import com.sun.tools.javac.util.Context;
import java.io.Writer;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import javax.tools.DiagnosticListener;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;

/**
 * A context of javac's, with the JDK's classes already read, for one compilation after the other.
 *
 * <p>What one compilation leaves in it must mean nothing to the next. It is kept only after one that succeeded and
 * declared neither a package nor a module: a package once seen stays known, and a module that is called like one
 * of the JDK's takes that one's place. The classes of one that did succeed are taken out, also the nested ones,
 * which javac's own pool of contexts forgets. What is left beside them (names, the unnamed package's list of
 * members) is memory, and bounded.
 *
 * <p>That this is all can't be proven from outside javac. So a failure in a context that has seen somebody's
 * sources is no answer yet: {@link #seen}.
 */
final class Warm {
    private static final int CHARACTERS_MAX = 4 << 20;
    private static final int CLASSES_MAX = 10_000;
    private static final List<String> OPTIONS =
            List.of("-proc:none", "-Xmaxerrs", "100", "-Xmaxwarns", "100",
                    "-encoding", "UTF-8");

    private final JavacTaskPool pool = new JavacTaskPool(1);
    private boolean begun;
    private boolean kept;
    private boolean seen;
    private boolean success;
    private long characters;
    private long classes;

    /** Whether nothing has been compiled in it yet: {@link #prime} would help. */
    boolean cold() {
        return !begun;
    }

    /** Whether there is something in it that saves time. */
    boolean kept() {
        return kept;
    }

    /** Whether it has compiled what somebody sent. */
    boolean seen() {
        return seen;
    }

    /**
     * Compiles what somebody sent; tells whether that succeeded.
     *
     * @param length characters of all sources.
     * @param met is given the context before anything is compiled.
     */
    boolean compile(
            Writer log,
            JavaFileManager files,
            DiagnosticListener<JavaFileObject> listener,
            List<? extends JavaFileObject> sources,
            int length,
            Consumer<Context> met) {
        begun = seen = true;
        kept = success = false;
        characters += length;
        try {
            pool.getTask(log, files, listener, OPTIONS, null, sources, task -> {
                Context context = ((BasicJavacTask) task).getContext();
                met.accept(context);
                Declarations declared = new Declarations();
                task.addTaskListener(declared);
                success = task.call();
                if (!success || declared.lasting) {
                    throw new Discarded();
                }
                classes += forget(Symtab.instance(context));
                return null;
            });
            kept = characters < CHARACTERS_MAX && classes < CLASSES_MAX;
        } catch (Discarded expected) {
            // the context is gone, as it should be
        }
        return success;
    }

    /** Compiles a program of our own, so that what most programs use of the JDK has been read. */
    void prime(Writer log, JavaFileManager files) {
        compile(log, files, diagnostic -> {}, List.of(new Primer()), Primer.TEXT.length(), context -> {});
        seen = false;
    }

    /** Takes out all classes that are not the JDK's, whose modules have names; tells how many. */
    private static int forget(Symtab symbols) {
        List<ClassSymbol> others = new ArrayList<>();
        for (ClassSymbol symbol : symbols.getAllClasses()) {
            if (symbol.packge().modle == symbols.unnamedModule) {
                others.add(symbol);
            }
        }
        for (ClassSymbol symbol : others) {
            symbols.removeClass(symbols.unnamedModule, symbol.flatName());
        }
        return others.size();
    }

    /** Thrown through the pool so that it drops the context instead of keeping it. */
    private static final class Discarded extends RuntimeException {
        private static final long serialVersionUID = 1;

        Discarded() {
            super(null, null, false, false);
        }
    }

    /** Whether some source declares what outlives its compilation. */
    private static final class Declarations implements TaskListener {
        private boolean lasting;

        @Override
        public void finished(TaskEvent event) {
            if (event.getKind() == TaskEvent.Kind.PARSE) {
                var unit = event.getCompilationUnit();
                lasting |= unit.getPackage() != null || unit.getModule() != null;
            }
        }
    }

    private static final class Primer extends SimpleJavaFileObject {
        private static final String TEXT = """
                public class Primer {
                    public static void main(String[] args) {
                        System.out.println("n" + args.length);
                    }
                }
                """;

        Primer() {
            super(URI.create("memory:///Primer.java"), JavaFileObject.Kind.SOURCE);
        }

        @Override
        public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return TEXT;
        }
    }
}
