package javacluster.internal;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Constructor;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.function.Function;
import jdk.internal.vm.annotation.Hidden;

/**
 * Calls a program's first method with no frame of ours in its stack traces (P4), and with little work.
 *
 * <p>Reflection would show. A method handle does not, but the first of them costs a virtual machine 4 ms of its
 * 10 ms for a hello: it makes three classes. So one is made here, of few constants and instructions: hidden
 * (JEP 371), which keeps its frames out of stack traces, and of the program's nest (JEP 181), so that it may call
 * whatever the program itself may. Method handles serve for what it may not: a method inherited across packages.
 */
final class Link {
    private static final String NAME = "Entry";
    private static final String ROLE = "java/util/function/Function";
    private static final String APPLY = "(Ljava/lang/Object;)Ljava/lang/Object;";
    private static final int RELEASE = 55;  // JDK 11, where nests began
    private static final int PUBLIC = Modifier.PUBLIC;
    private static final int SUPER = 0x20;

    private static final int ACONST_NULL = 0x01;
    private static final int ALOAD_1 = 0x2b;
    private static final int CHECKCAST = 0xc0;
    private static final int DUP = 0x59;
    private static final int ARETURN = 0xb0;
    private static final int INVOKEVIRTUAL = 0xb6;
    private static final int INVOKESPECIAL = 0xb7;
    private static final int INVOKESTATIC = 0xb8;
    private static final int NEW = 0xbb;

    private static String made = "";
    private static boolean elsewhere;

    private Link() {}

    /** Whether a class of this name was made here. */
    static boolean made(String name) {
        return name.equals(made)
                || name.equals(Handled.class.getName())
                || name.startsWith("java.lang.invoke.LambdaForm");
    }

    /** Whether the method found last is another class's, so that calling it does not initialise the program's. */
    static boolean elsewhere() {
        return elsewhere;
    }

    /** To the original's contract: a public constructor without parameters, and {@code run()}. */
    static Function<Object, Object> toRun(Class<?> type) throws ReflectiveOperationException {
        Constructor<?> constructor = type.getConstructor();
        Method run = type.getMethod("run");
        if (run.getReturnType() == String.class) {
            return made(type, run);
        }
        constructor.setAccessible(true);
        run.setAccessible(true);
        MethodHandle object = MethodHandles.lookup().unreflectConstructor(constructor);
        MethodHandle called = MethodHandles.lookup().unreflect(run).asType(MethodType.methodType(Object.class, type));
        return handled(MethodHandles.filterReturnValue(object, called));
    }

    /** To {@code main}, also in the shorter forms of newer JDKs. */
    static Function<Object, Object> toMain(Class<?> type) throws ReflectiveOperationException {
        Method main = declared(type, String[].class);
        main = main == null ? declared(type) : main;
        if (main == null) {
            throw new NoSuchMethodException(type.getName().concat(".main"));
        }
        elsewhere = Modifier.isStatic(main.getModifiers()) && main.getDeclaringClass() != type;
        boolean near = main.getDeclaringClass().getPackageName().equals(type.getPackageName());
        if (near || Modifier.isPublic(main.getModifiers())) {
            return made(type, main);
        }
        main.setAccessible(true);
        MethodHandle handle = MethodHandles.lookup().unreflect(main).asFixedArity();
        if (!Modifier.isStatic(main.getModifiers())) {
            Constructor<?> constructor = type.getDeclaredConstructor();
            constructor.setAccessible(true);
            MethodHandle object = MethodHandles.lookup().unreflectConstructor(constructor);
            MethodType exact = handle.type().changeParameterType(0, type);
            handle = MethodHandles.collectArguments(handle.asType(exact), 0, object);
        }
        return handled(handle);
    }

    /** As plain java looks for it: in the class and then in those that it extends, and no private one. */
    private static Method declared(Class<?> type, Class<?>... parameters) {
        for (Class<?> at = type; at != null; at = at.getSuperclass()) {
            try {
                Method found = at.getDeclaredMethod("main", parameters);
                if (!Modifier.isPrivate(found.getModifiers()) && found.getReturnType() == void.class) {
                    return found;
                }
            } catch (NoSuchMethodException next) {
                // perhaps inherited
            }
        }
        return null;
    }

    private static Function<Object, Object> handled(MethodHandle handle) {
        if (handle.type().parameterCount() == 0) {
            handle = MethodHandles.dropArguments(handle, 0, String[].class);
        }
        return new Handled(handle.asType(MethodType.methodType(Object.class, String[].class)));
    }

    private record Handled(MethodHandle handle) implements Function<Object, Object> {
        @Override
        @Hidden
        public Object apply(Object arguments) {
            try {
                return (Object) handle.invokeExact((String[]) arguments);
            } catch (Throwable failure) {
                throw Handled.<RuntimeException>same(failure);
            }
        }

        /** Throws it as it is, whatever the compiler has to say. */
        @SuppressWarnings("unchecked")
        private static <T extends Throwable> T same(Throwable failure) throws T {
            throw (T) failure;
        }
    }

    @SuppressWarnings("unchecked")
    private static Function<Object, Object> made(Class<?> type, Method method) throws ReflectiveOperationException {
        String target = type.getName().replace('.', '/');
        String name = target.substring(0, target.lastIndexOf('/') + 1).concat(NAME);
        byte[] bytes;
        try {
            bytes = classOf(name, target, type.isInterface(), method);
        } catch (IOException impossible) {
            throw new AssertionError(impossible);  // in memory
        }
        Function<Object, Object> entry = (Function<Object, Object>) Host.made(type, name, bytes);
        made = entry.getClass().getName();
        return entry;
    }

    /** The class file (JVMS 4) of {@code class Entry implements Function}, which calls that method of that type. */
    private static byte[] classOf(String name, String target, boolean isInterface, Method method) throws IOException {
        String descriptor = (method.getParameterCount() == 0 ? "()" : "([Ljava/lang/String;)")
                .concat(method.getReturnType() == void.class ? "V" : "Ljava/lang/String;");
        Constants constants = new Constants();
        int own = constants.type(name);
        int parent = constants.type("java/lang/Object");
        int role = constants.type(ROLE);
        int strings = constants.type("[Ljava/lang/String;");
        int callee = constants.type(target);
        int calleeMade = constants.method(callee, "<init>", "()V");
        int called = isInterface
                ? constants.interfaceMethod(callee, method.getName(), descriptor)
                : constants.method(callee, method.getName(), descriptor);
        int[] tail = method.getReturnType() == void.class ? new int[] {ACONST_NULL, ARETURN} : new int[] {ARETURN};
        int[] given = method.getParameterCount() == 0 ? new int[0] : new int[] {ALOAD_1, CHECKCAST, strings >> 8, strings};
        boolean fixed = Modifier.isStatic(method.getModifiers());
        int[] object = fixed
                ? new int[0]
                : new int[] {NEW, callee >> 8, callee, DUP, INVOKESPECIAL, calleeMade >> 8, calleeMade};
        int[] call = {fixed ? INVOKESTATIC : INVOKEVIRTUAL, called >> 8, called};
        byte[] apply = method(constants, "apply", APPLY, 2, new int[][] {object, given, call, tail});

        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeInt(0xcafebabe);
        out.writeInt(RELEASE);
        constants.writeTo(out);
        for (int part : new int[] {PUBLIC | SUPER, own, parent, 1, role, 0, 1}) {
            out.writeShort(part);
        }
        out.write(apply);
        out.writeShort(0);
        return bytes.toByteArray();
    }

    private static byte[] method(Constants constants, String name, String descriptor, int locals, int[][] code)
            throws IOException {
        int nameAt = constants.text(name);
        int descriptorAt = constants.text(descriptor);
        int attribute = constants.text("Code");
        int length = 0;
        for (int[] part : code) {
            length += part.length;
        }
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        for (int part : new int[] {PUBLIC, nameAt, descriptorAt, 1, attribute}) {
            out.writeShort(part);
        }
        out.writeInt(12 + length);
        out.writeShort(2);
        out.writeShort(locals);
        out.writeInt(length);
        for (int[] part : code) {
            for (int instruction : part) {
                out.writeByte(instruction);
            }
        }
        out.writeInt(0);  // no handlers, no attributes
        return bytes.toByteArray();
    }
}
