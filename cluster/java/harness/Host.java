package javacluster.internal;

import java.io.FileDescriptor;
import java.lang.invoke.MethodHandles.Lookup;
import java.lang.reflect.Field;

/** What the launcher needs of the JDK and is not offered, for one that stands beside it on the boot class path. */
final class Host {
    private Host() {}

    /** The descriptor of a file that is open already. */
    static FileDescriptor descriptor(int number) throws ReflectiveOperationException {
        sun.misc.Unsafe unsafe = unsafe();
        FileDescriptor descriptor = new FileDescriptor();
        unsafe.putInt(descriptor, unsafe.objectFieldOffset(FileDescriptor.class.getDeclaredField("fd")), number);
        return descriptor;
    }

    /** An object of the class in these bytes: hidden, of the type's nest, and no constructor is called. */
    static Object made(Class<?> type, String name, byte[] bytes) throws ReflectiveOperationException {
        sun.misc.Unsafe unsafe = unsafe();
        Field field = Lookup.class.getDeclaredField("IMPL_LOOKUP");
        Lookup all = (Lookup) unsafe.getObject(unsafe.staticFieldBase(field), unsafe.staticFieldOffset(field));
        // privateLookupIn would give less to who is in another module
        Class<?> hidden = all.in(type).defineHiddenClass(bytes, false, Lookup.ClassOption.NESTMATE).lookupClass();
        return unsafe.allocateInstance(hidden);
    }

    private static sun.misc.Unsafe unsafe() throws ReflectiveOperationException {
        Field theUnsafe = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
        theUnsafe.setAccessible(true);
        return (sun.misc.Unsafe) theUnsafe.get(null);
    }
}
